//! What a client sends: types and ranges of every field.

use engine_contract::Sampling;
use serde_json::Value;

use crate::openai::controls::Controls;
use crate::openai::fields::{Field, Fields};
use crate::openai::unsupported::refuse_in_completion;
use crate::openai::{ApiError, Ignored, logprobs};

/// OpenAI's default of this endpoint.
const MAX_TOKENS_DEFAULT: u32 = 16;

/// A completion, read and checked.
#[derive(Debug, PartialEq)]
pub(crate) struct CompletionRequest {
    pub(crate) model: String,
    pub(crate) prompt: WirePrompt,
    pub(crate) controls: Controls,
}

/// The one prompt, in the form it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WirePrompt {
    Text(String),
    Tokens {
        /// Where the list is in the body.
        path: String,
        tokens: Vec<u32>,
    },
}

/// Reads the body. `defaults` is how tokens are drawn where it does not say it.
///
/// # Errors
/// The first field that is missing, of a wrong type or value, or not supported.
pub(crate) fn read(
    mut fields: Fields,
    defaults: &Sampling,
    ignored: &mut Ignored,
) -> Result<CompletionRequest, ApiError> {
    let model = fields.required("model")?.text()?;
    let prompt = read_prompt(fields.required("prompt")?)?;
    refuse_in_completion(&mut fields)?;
    let names = ["max_tokens", "max_completion_tokens"];
    let logprobs = logprobs::read_in_completion(&mut fields)?;
    let controls =
        Controls::read(&mut fields, &names, Some(MAX_TOKENS_DEFAULT), defaults, ignored)?;
    let controls = controls.with_logprobs(logprobs);
    fields.ignore_rest(ignored);
    Ok(CompletionRequest { model, prompt, controls })
}

/// A string or a list of tokens, or a list of exactly one of these.
fn read_prompt(field: Field) -> Result<WirePrompt, ApiError> {
    let Value::Array(elements) = field.value() else { return read_one(field) };
    match elements.as_slice() {
        [] => Err(field.outside("a string or a list of at least one token")),
        [Value::String(_) | Value::Array(_)] => {
            let element = field.list(1)?.pop().expect("there is one");
            read_one(element)
        }
        [Value::String(_) | Value::Array(_), ..] => Err(ApiError::many_prompts(field.path())),
        _ => read_one(field),
    }
}

fn read_one(field: Field) -> Result<WirePrompt, ApiError> {
    match field.value() {
        Value::String(_) => Ok(WirePrompt::Text(field.text()?)),
        Value::Array(_) => {
            let path = field.path().to_owned();
            Ok(WirePrompt::Tokens { path, tokens: field.tokens()? })
        }
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::Object(_) => {
            Err(field.not("a string or a list of tokens"))
        }
    }
}
