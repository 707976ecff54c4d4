//! What a client says to the chat template: how the conversation ends, and variables.

use std::collections::BTreeSet;

use runtime::Ending;
use serde_json::Value;

use crate::openai::fields::{Field, Fields};
use crate::openai::{ApiError, Ignored};

const VARIABLES_MAX: usize = 64;
const VARIABLE_BYTES_MAX: usize = 64 << 10;

/// The variable that switches reasoning off, in templates that know it.
const THINKING: &str = "enable_thinking";
/// The variable that says how much reasoning there is, in templates that know it.
const EFFORT: &str = "reasoning_effort";
/// OpenAI's words for it.
const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh"];

/// What a template is given by fields of their own, or not at all.
const RESERVED: &[&str] = &[
    "add_generation_prompt",
    "bos_token",
    "chat_template",
    "continue_final_message",
    "documents",
    "eos_token",
    "messages",
    "tokenize",
    "tools",
];

/// How the conversation is rendered.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rendering {
    pub(crate) ending: Ending,
    /// By name; no name is there twice.
    pub(crate) variables: Vec<(String, Value)>,
}

/// Reads the fields that go to the template; `known` are the names that it reads.
///
/// # Errors
/// The first field of a wrong type or value, or one that the template does not heed.
pub(crate) fn read(
    fields: &mut Fields,
    known: &BTreeSet<String>,
    ignored: &mut Ignored,
) -> Result<Rendering, ApiError> {
    let ending = read_ending(fields)?;
    let mut variables = match fields.optional("chat_template_kwargs") {
        Some(field) => read_variables(field, known, ignored)?,
        None => Vec::new(),
    };
    if let Some(field) = fields.optional(EFFORT) {
        add_effort(field, known, &mut variables)?;
    }
    Ok(Rendering { ending, variables })
}

fn read_ending(fields: &mut Fields) -> Result<Ending, ApiError> {
    let answer = fields.optional("add_generation_prompt").map(|field| field.flag()).transpose()?;
    let Some(field) = fields.optional("continue_final_message") else {
        return Ok(if answer == Some(false) { Ending::Closed } else { Ending::Answer });
    };
    match (field.flag()?, answer) {
        (true, Some(true)) => Err(field.outside("false where `add_generation_prompt` is true")),
        (true, Some(false) | None) => Ok(Ending::Open),
        (false, Some(false)) => Ok(Ending::Closed),
        (false, Some(true) | None) => Ok(Ending::Answer),
    }
}

fn read_variables(
    field: Field,
    known: &BTreeSet<String>,
    ignored: &mut Ignored,
) -> Result<Vec<(String, Value)>, ApiError> {
    let many = field.outside(&format!("at most {VARIABLES_MAX} variables"));
    let long = field.outside(&format!("at most {VARIABLE_BYTES_MAX} bytes of JSON"));
    let bytes = field.value().to_string().len();
    let mut variables = Vec::new();
    for (name, field) in field.object()?.into_named() {
        if RESERVED.contains(&name.as_str()) {
            return Err(field.outside("left out: this is no variable of the request's own"));
        }
        if !known.contains(&name) {
            ignored.add(field.path());
            continue;
        }
        variables.push((name, field.value().clone()));
    }
    if variables.len() > VARIABLES_MAX {
        return Err(many);
    }
    if bytes > VARIABLE_BYTES_MAX { Err(long) } else { Ok(variables) }
}

/// A template that can only switch reasoning off is told so by `none`.
fn add_effort(
    field: Field,
    known: &BTreeSet<String>,
    variables: &mut Vec<(String, Value)>,
) -> Result<(), ApiError> {
    let unknown = field.outside(&format!("one of {}", EFFORTS.join(", ")));
    let unsupported = ApiError::unsupported(field.path());
    let differs = field.outside("left out where `chat_template_kwargs` says something else");
    let effort = field.text()?;
    if !EFFORTS.contains(&effort.as_str()) {
        return Err(unknown);
    }
    let (name, value) = match effort.as_str() {
        _ if known.contains(EFFORT) => (EFFORT, Value::from(effort)),
        "none" if known.contains(THINKING) => (THINKING, Value::from(false)),
        // A model whose template says nothing of reasoning is not asked for any.
        "none" => return Ok(()),
        _ => return Err(unsupported),
    };
    match variables.iter().find(|(given, _)| given == name) {
        Some((_, given)) if *given == value => {}
        Some(_) => return Err(differs),
        None => variables.push((name.to_owned(), value)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_for(known: &[&str], body: Value) -> Result<(Rendering, Ignored), String> {
        let Value::Object(object) = body else { panic!("an object") };
        let known = known.iter().map(|&name| name.to_owned()).collect();
        let mut ignored = Ignored::default();
        let rendering = read(&mut Fields::new(object), &known, &mut ignored);
        rendering.map(|it| (it, ignored)).map_err(|error| error.to_string())
    }

    fn variables(known: &[&str], body: Value) -> Result<Value, String> {
        read_for(known, body).map(|(rendering, _)| rendering.variables.into_iter().collect())
    }

    #[test]
    fn endings_follow_from_two_flags() {
        let ending = |body| read_for(&[], body).map(|(rendering, _)| rendering.ending);
        assert_eq!(ending(json!({})), Ok(Ending::Answer));
        assert_eq!(ending(json!({"add_generation_prompt": false})), Ok(Ending::Closed));
        assert_eq!(ending(json!({"continue_final_message": true})), Ok(Ending::Open));
        let both = json!({"continue_final_message": true, "add_generation_prompt": true});
        let message =
            "`continue_final_message` must be false where `add_generation_prompt` is true";
        assert_eq!(ending(both).unwrap_err(), message);
    }

    #[test]
    fn variables_that_the_template_does_not_read_are_listed() {
        let body = json!({"chat_template_kwargs": {"enable_thinking": false, "x": [1], "y": null}});
        let (rendering, ignored) = read_for(&[THINKING], body).unwrap();
        assert_eq!(rendering.variables, [(THINKING.to_owned(), json!(false))]);
        assert_eq!(ignored.header().unwrap(), "chat_template_kwargs.x");
    }

    #[test]
    fn variables_are_bounded_and_some_names_are_taken() {
        let of = |value: Value| variables(&["a"], json!({"chat_template_kwargs": value}));
        assert!(
            of(json!({"messages": []})).unwrap_err().contains("`chat_template_kwargs.messages`")
        );
        assert!(of(json!({"a": "x".repeat(1 << 16)})).unwrap_err().contains("at most 65536 bytes"));
        assert!(of(json!([])).unwrap_err().contains("must be an object"));
        let names: Vec<_> = (0..65).map(|n| n.to_string()).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let many: Value = names.iter().map(|&name| (name.to_owned(), json!(1))).collect();
        let refusal = variables(&names, json!({"chat_template_kwargs": many})).unwrap_err();
        assert!(refusal.contains("at most 64 variables"));
    }

    #[test]
    fn effort_goes_to_templates_that_know_it() {
        let of = |known, effort| variables(known, json!({"reasoning_effort": effort}));
        assert_eq!(of(&[EFFORT, THINKING], "low"), Ok(json!({"reasoning_effort": "low"})));
        assert_eq!(of(&[THINKING], "none"), Ok(json!({"enable_thinking": false})));
        assert_eq!(of(&[], "none"), Ok(json!({})));
        assert!(of(&[THINKING], "low").unwrap_err().contains("is not supported"));
        assert!(of(&[EFFORT], "lots").unwrap_err().contains("must be one of none, minimal"));
        let both = json!({
            "reasoning_effort": "none",
            "chat_template_kwargs": {"enable_thinking": true},
        });
        assert!(variables(&[THINKING], both).unwrap_err().contains("`reasoning_effort` must be"));
    }
}
