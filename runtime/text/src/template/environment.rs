//! What a template can call: Jinja's own, what Hugging Face adds, and Python's methods.
//!
//! What can make a long value out of short ones in one step pays before it does so.

use std::fmt::Write as _;
use std::sync::Arc;

use minijinja::value::Rest;
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value, filters};
use minijinja_contrib::pycompat;

use super::meter::{Meter, Raised, check_storable, too_much};
use super::{date, python};

/// The filter that pays for a value and hands it on. No template can write these names.
pub(super) const PAY: &str = "!pay";
/// The filter that multiplies.
pub(super) const MULTIPLY: &str = "!multiply";
/// The filter that hands on what may be stored in a namespace.
pub(super) const CHECK: &str = "!check";

/// The environment of one rendering, which pays to `meter`.
pub(super) fn environment(meter: &Arc<Meter>) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    for filter in ["batch", "chain", "groupby", "pprint", "slice", "zip"] {
        environment.remove_filter(filter);
    }
    environment.remove_global("debug");
    add_payments(&mut environment, meter);
    add_filters(&mut environment, meter);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        let error = Error::new(ErrorKind::InvalidOperation, message.clone());
        Err(error.with_source(Raised(message)))
    });
    environment.add_function("strftime_now", |format: &str| date::now(format));
    let paying = Arc::clone(meter);
    environment.set_unknown_method_callback(move |state, value, method, args| {
        call_method(&paying, state, value, method, args)
    });
    environment
}

fn add_payments(environment: &mut Environment<'static>, meter: &Arc<Meter>) {
    let paying = Arc::clone(meter);
    environment.add_filter(PAY, move |value: Value| paying.pay(value));
    let paying = Arc::clone(meter);
    environment.add_filter(MULTIPLY, move |a: Value, b: Value| multiply(&paying, &a, &b));
    let paying = Arc::clone(meter);
    environment.add_filter(CHECK, move |value: Value| {
        check_storable(&value)?;
        paying.pay(value)
    });
    let paying = Arc::clone(meter);
    environment.set_formatter(move |out, _, value| {
        paying.pay(value.clone())?;
        python::write(out, value)
    });
}

fn add_filters(environment: &mut Environment<'static>, meter: &Arc<Meter>) {
    environment.add_filter("tojson", python::to_json);
    for name in ["length", "count"] {
        environment.add_filter(name, length);
    }
    let paying = Arc::clone(meter);
    environment.add_filter("replace", move |text: &str, from: &str, to: &str| {
        replace(&paying, text, from, to, None)
    });
    let paying = Arc::clone(meter);
    environment.add_filter("join", move |values: Value, joiner: Option<&str>| {
        join(&paying, joiner.unwrap_or_default(), &values)
    });
    environment.add_filter("indent", |state: &State<'_, '_>, text: Value, args: Rest<Value>| {
        indent(state, text, &args)
    });
    environment.add_filter("format", |format: &str, args: Rest<Value>| {
        check_format(format)?;
        minijinja::format_filter(minijinja::FormatStyle::Printf, format, &args)
    });
}

/// Jinja's `length`, which for something undefined is none.
fn length(value: &Value) -> Result<usize, Error> {
    if value.is_undefined() { Ok(0) } else { filters::length(value) }
}

/// Python's methods of strings, lists and maps.
fn call_method(
    meter: &Meter,
    state: &State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match (value.as_str(), method, args) {
        (Some(text), "replace", [from, to, rest @ ..]) if rest.len() < 2 => {
            let (Some(from), Some(to)) = (from.as_str(), to.as_str()) else {
                return Err(Error::new(ErrorKind::InvalidOperation, "replace takes two strings"));
            };
            let count = rest.first().and_then(Value::as_usize);
            replace(meter, text, from, to, count).map(Value::from)
        }
        (Some(joiner), "join", [values]) => join(meter, joiner, values).map(Value::from),
        (Some(format), "format", _) => {
            check_format(format)?;
            pycompat::unknown_method_callback(state, value, method, args)
        }
        _ => pycompat::unknown_method_callback(state, value, method, args),
    }
}

fn replace(
    meter: &Meter,
    text: &str,
    from: &str,
    to: &str,
    count: Option<usize>,
) -> Result<String, Error> {
    let count = text.matches(from).take(count.unwrap_or(usize::MAX)).count();
    meter.charge(text.len().saturating_add(count.saturating_mul(to.len())))?;
    Ok(text.replacen(from, to, count))
}

fn join(meter: &Meter, joiner: &str, values: &Value) -> Result<String, Error> {
    let mut joined = String::new();
    for (index, value) in values.try_iter()?.enumerate() {
        let before = joined.len();
        if index > 0 {
            joined.push_str(joiner);
        }
        meter.pay(value.clone())?;
        write!(joined, "{value}").map_err(|_| too_much())?;
        meter.charge(joined.len() - before)?;
    }
    Ok(joined)
}

/// Multiplies numbers, and repeats strings. Jinja would repeat lists too; no template does.
fn multiply(meter: &Meter, a: &Value, b: &Value) -> Result<Value, Error> {
    let (text, count) = match (a.as_str(), b.as_str()) {
        (Some(text), None) => (text, b),
        (None, Some(text)) => (text, a),
        _ => return multiply_numbers(a, b),
    };
    let count = usize::try_from(i64::try_from(count.clone())?.max(0)).unwrap_or(usize::MAX);
    meter.charge(text.len().saturating_mul(count))?;
    Ok(Value::from(text.repeat(count)))
}

fn multiply_numbers(a: &Value, b: &Value) -> Result<Value, Error> {
    if let (Ok(a), Ok(b)) = (i128::try_from(a.clone()), i128::try_from(b.clone()))
        && let Some(product) = a.checked_mul(b)
    {
        return Ok(i64::try_from(product).map_or_else(|_| Value::from(product), Value::from));
    }
    Ok(Value::from(f64::try_from(a.clone())? * f64::try_from(b.clone())?))
}

/// Jinja's `indent`, with a width that a page has.
fn indent(state: &State<'_, '_>, text: Value, args: &[Value]) -> Result<Value, Error> {
    const WIDTH_MAX: usize = 64;
    let widths = args.iter().flat_map(|arg| match arg.is_kwargs() {
        true => arg.get_attr("width").ok(),
        false => Some(arg.clone()),
    });
    if widths.flat_map(|width| width.as_usize()).any(|width| width > WIDTH_MAX) {
        let reason = format!("cannot indent by more than {WIDTH_MAX}");
        return Err(Error::new(ErrorKind::InvalidOperation, reason));
    }
    let mut all = vec![text];
    all.extend(args.iter().cloned());
    Value::from_function(filters::indent).call(state, &all)
}

/// Refuses widths and precisions that no text has, and those that come with the arguments.
fn check_format(format: &str) -> Result<(), Error> {
    let digits = |run: &str| run.bytes().take_while(u8::is_ascii_digit).count();
    let long = format.char_indices().any(|(at, _)| digits(&format[at..]) > 4);
    if long || format.contains('*') || format.contains(":{") {
        let reason = "a format may not be wider than 9999, nor take its width from elsewhere";
        return Err(Error::new(ErrorKind::InvalidOperation, reason));
    }
    Ok(())
}

/// Instructions. A template takes some twenty for a message and some for each character that it
/// looks at, which no template does for all of them.
const FUEL: u64 = 10_000_000;
/// Levels of blocks; a macro counts as four. What a thread's ordinary stack bears.
const RECURSION_MAX: usize = 200;
