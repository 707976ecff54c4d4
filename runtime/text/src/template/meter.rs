//! What rendering costs, and where it ends.
//!
//! A template of a hundred characters can ask for a terabyte, so everything that rendering makes is
//! weighed as it is made: strings by their bytes, lists and maps by all that is reachable from
//! them, however often. Together with a time limit that bounds memory, time and depth, whatever a
//! template does.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

use crate::TemplateError;

/// The budget of one rendering.
pub(super) struct Meter {
    /// Bytes that may still be made.
    left: AtomicUsize,
    deadline: Instant,
}

impl Meter {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes), deadline: Instant::now() + TIME_MAX }
    }

    /// Pays for `bytes` about to be made.
    pub(super) fn charge(&self, bytes: usize) -> Result<(), Error> {
        let left = self.left.load(Ordering::Relaxed).checked_sub(bytes).ok_or_else(too_much)?;
        self.left.store(left, Ordering::Relaxed);
        if Instant::now() > self.deadline { Err(too_much()) } else { Ok(()) }
    }

    /// Pays for a value that was just made. A lazy sequence is made now, or it would be made
    /// unpaid.
    pub(super) fn pay(&self, value: Value) -> Result<Value, Error> {
        let value = if value.kind() == ValueKind::Iterable {
            Value::from(self.collect(&value)?)
        } else {
            value
        };
        self.weigh(&value, 0)?;
        Ok(value)
    }

    fn collect(&self, lazy: &Value) -> Result<Vec<Value>, Error> {
        let mut values = Vec::new();
        for value in lazy.try_iter()? {
            self.charge(NODE_BYTES)?;
            values.push(value);
        }
        Ok(values)
    }

    /// Pays for everything reachable from a value.
    fn weigh(&self, value: &Value, depth: usize) -> Result<(), Error> {
        if let Some(text) = value.as_str() {
            return self.charge(text.len());
        }
        if depth > DEPTH_MAX {
            return Err(too_much());
        }
        if depth > 0 {
            check_storable(value)?;
        }
        let is_map = value.kind() == ValueKind::Map;
        if !is_map && value.kind() != ValueKind::Seq {
            return self.charge(0);
        }
        for item in value.try_iter()? {
            self.charge(NODE_BYTES)?;
            self.weigh(&item, depth + 1)?;
            if is_map {
                self.weigh(&value.get_item(&item)?, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// Refuses a namespace: stored inside a value, it could come to contain itself.
pub(super) fn check_storable(value: &Value) -> Result<(), Error> {
    let is_namespace =
        value.as_object().is_some_and(|object| object.type_name().ends_with("::Namespace"));
    if is_namespace {
        let reason = "a namespace cannot be put into another value";
        return Err(Error::new(ErrorKind::InvalidOperation, reason));
    }
    Ok(())
}

/// What a template says with `raise_exception`.
#[derive(Debug)]
pub(super) struct Raised(pub(super) String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// The budget is spent.
#[derive(Debug)]
struct Spent;

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the budget is spent")
    }
}

impl std::error::Error for Spent {}

pub(super) fn too_much() -> Error {
    Error::new(ErrorKind::InvalidOperation, "too much work").with_source(Spent)
}

/// What went wrong in rendering, whatever it was wrapped in on its way.
pub(super) fn template_error(error: &Error) -> TemplateError {
    let mut causes: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = causes {
        if let Some(raised) = cause.downcast_ref::<Raised>() {
            return TemplateError::Raised(short(&raised.0));
        }
        let out_of_fuel =
            cause.downcast_ref::<Error>().is_some_and(|e| e.kind() == ErrorKind::OutOfFuel);
        if out_of_fuel || cause.is::<Spent>() {
            return TemplateError::TooMuchWork;
        }
        causes = cause.source();
    }
    TemplateError::Failed(short(&error.to_string()))
}

/// A message's worth of a text that may be long.
fn short(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    let text = crate::mark::unmark(text);
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

/// What a place in a list or a map takes, about.
const NODE_BYTES: usize = 24;
/// How deep lists and maps may lie in each other; walking them recurses.
const DEPTH_MAX: usize = 64;
/// Rendering takes well under a millisecond; this only ends what no other limit ends.
const TIME_MAX: Duration = Duration::from_secs(5);
