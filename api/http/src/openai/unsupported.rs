//! Fields that OpenAI's API or other servers know, and that this one does not honour yet.
//!
//! A value that asks for nothing is accepted; anything else is refused by name, because an answer
//! that silently lacks what was asked for is worse than none.

use serde_json::Value;

use super::ApiError;
use super::fields::{Field, Fields};

/// The values of a field that ask for nothing.
#[derive(Clone, Copy)]
enum Off {
    /// Either boolean: the field bears on something else that is refused.
    Anyhow,
    /// A list, an object or a string with nothing in it.
    Empty,
    False,
    /// None but null.
    Never,
    Number(f64),
    /// A response format of plain text.
    TextFormat,
    Words(&'static [&'static str]),
}

const SHARED: &[(&str, Off)] = &[
    ("allowed_token_ids", Off::Empty),
    ("bad_words", Off::Empty),
    ("best_of", Off::Number(1.0)),
    ("echo", Off::False),
    ("grammar", Off::Empty),
    ("guided_choice", Off::Never),
    ("guided_decoding_backend", Off::Never),
    ("guided_grammar", Off::Never),
    ("guided_json", Off::Never),
    ("guided_regex", Off::Never),
    ("guided_whitespace_pattern", Off::Never),
    ("json_schema", Off::Never),
    ("kv_transfer_params", Off::Never),
    ("length_penalty", Off::Number(1.0)),
    ("logits_processors", Off::Empty),
    ("prompt_embeds", Off::Never),
    ("prompt_logprobs", Off::Never),
    ("response_format", Off::TextFormat),
    ("structured_outputs", Off::Never),
    ("typical_p", Off::Number(1.0)),
    ("use_beam_search", Off::False),
];

const CHAT: &[(&str, Off)] = &[
    ("audio", Off::Never),
    ("chat_template", Off::Never),
    ("documents", Off::Empty),
    ("function_call", Off::Words(&["none", "auto"])),
    ("functions", Off::Empty),
    ("modalities", Off::Words(&["text"])),
    ("parallel_tool_calls", Off::Anyhow),
    ("prediction", Off::Never),
    ("tool_choice", Off::Words(&["none", "auto"])),
    ("tools", Off::Empty),
    ("web_search_options", Off::Never),
];

const COMPLETIONS: &[(&str, Off)] = &[("suffix", Off::Empty)];

/// Takes the fields of a chat that are not honoured.
///
/// # Errors
/// The first that asks for something, or is of a wrong type.
pub(crate) fn refuse_in_chat(fields: &mut Fields) -> Result<(), ApiError> {
    refuse(fields, SHARED.iter().chain(CHAT))
}

/// Takes the fields of a completion that are not honoured.
///
/// # Errors
/// The first that asks for something, or is of a wrong type.
pub(crate) fn refuse_in_completion(fields: &mut Fields) -> Result<(), ApiError> {
    refuse(fields, SHARED.iter().chain(COMPLETIONS))
}

fn refuse<'a>(
    fields: &mut Fields,
    known: impl Iterator<Item = &'a (&'static str, Off)>,
) -> Result<(), ApiError> {
    for (name, off) in known {
        if let Some(field) = fields.optional(name)
            && !off.is_met_by(&field)?
        {
            return Err(ApiError::unsupported(field.path()));
        }
    }
    Ok(())
}

impl Off {
    /// Whether the field asks for nothing.
    fn is_met_by(self, field: &Field) -> Result<bool, ApiError> {
        match self {
            Self::Anyhow => field.flag().map(|_| true),
            Self::Empty => Ok(is_empty(field.value())),
            Self::False => field.flag().map(|flag| !flag),
            Self::Never => Ok(false),
            Self::Number(off) => field.number(f64::MIN, f64::MAX).map(|number| number == off),
            Self::TextFormat => Ok(field.value().get("type").is_some_and(|kind| kind == "text")),
            Self::Words(words) => Ok(is_among(field.value(), words)),
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Null | Value::Number(_) => false,
    }
}

/// A word, or a list of words, each of which asks for nothing.
fn is_among(value: &Value, words: &[&str]) -> bool {
    match value {
        Value::String(text) => words.contains(&text.as_str()),
        Value::Array(values) => {
            values.iter().all(|value| value.is_string() && is_among(value, words))
        }
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(body: Value) -> Option<String> {
        let Value::Object(object) = body else { panic!("an object") };
        refuse_in_chat(&mut Fields::new(object)).err().map(|error| error.to_string())
    }

    #[test]
    fn values_that_ask_for_nothing_are_accepted() {
        for body in [
            json!({"tools": [], "tool_choice": "auto", "parallel_tool_calls": true}),
            json!({"response_format": {"type": "text"}, "length_penalty": 1}),
            json!({"guided_json": null, "best_of": 1, "echo": false, "modalities": ["text"]}),
        ] {
            assert_eq!(refusal(body.clone()), None, "{body}");
        }
    }

    #[test]
    fn values_that_ask_for_something_are_refused_by_name() {
        for (name, value) in [
            ("tools", json!([{"type": "function"}])),
            ("tool_choice", json!("required")),
            ("tool_choice", json!({"type": "function"})),
            ("response_format", json!({"type": "json_object"})),
            ("length_penalty", json!(1.1)),
            ("best_of", json!(2)),
            ("guided_json", json!({})),
            ("modalities", json!(["text", "audio"])),
            ("chat_template", json!("{{ 7 * 7 }}")),
        ] {
            let message = format!("`{name}` is not supported by this server; leave it out");
            assert_eq!(refusal(json!({name: value})), Some(message));
        }
    }

    #[test]
    fn a_wrong_type_is_told_from_what_is_not_supported() {
        let message = "`typical_p` must be a number, not a string";
        assert_eq!(refusal(json!({"typical_p": "0"})).unwrap(), message);
        let message = "`echo` must be a boolean, not a number";
        assert_eq!(refusal(json!({"echo": 1})).unwrap(), message);
    }
}
