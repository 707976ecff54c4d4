//! What a client sends: types and ranges of every field.

use runtime::{Ending, ModelCard};
use serde_json::Value;

use super::template::{self, Rendering};
use crate::openai::controls::Controls;
use crate::openai::fields::{Field, Fields};
use crate::openai::unsupported::refuse_in_chat;
use crate::openai::{ApiError, Ignored, logprobs};

const MESSAGES_MAX: usize = 4096;
const PARTS_MAX: usize = 4096;

/// A chat, read and checked.
#[derive(Debug, PartialEq)]
pub(crate) struct ChatRequest {
    pub(crate) model: String,
    /// At least one.
    pub(crate) messages: Vec<ChatMessage>,
    pub(crate) rendering: Rendering,
    pub(crate) controls: Controls,
}

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ChatMessage {
    pub(crate) role: Role,
    /// The text, or the texts of its parts.
    pub(crate) parts: Vec<String>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Assistant,
    Developer,
    System,
    Tool,
    User,
}

/// Reads the body; `card` says what holds where it says nothing, and what the template reads.
///
/// # Errors
/// The first field that is missing, of a wrong type or value, or not supported.
pub(crate) fn read(
    mut fields: Fields,
    card: &ModelCard,
    ignored: &mut Ignored,
) -> Result<ChatRequest, ApiError> {
    let model = fields.required("model")?.text()?;
    let messages = read_messages(fields.required("messages")?, ignored)?;
    let rendering = template::read(&mut fields, &card.template_variables, ignored)?;
    check_continued(&messages, rendering.ending)?;
    refuse_in_chat(&mut fields)?;
    let max_tokens = ["max_completion_tokens", "max_tokens"];
    let logprobs = logprobs::read_in_chat(&mut fields)?;
    let controls = Controls::read(&mut fields, &max_tokens, None, &card.sampling, ignored)?;
    let controls = controls.with_logprobs(logprobs);
    fields.ignore_rest(ignored);
    Ok(ChatRequest { model, messages, rendering, controls })
}

fn read_messages(field: Field, ignored: &mut Ignored) -> Result<Vec<ChatMessage>, ApiError> {
    let empty = field.outside("a list of at least one message");
    let messages = field.list(MESSAGES_MAX)?;
    if messages.is_empty() {
        return Err(empty);
    }
    messages.into_iter().map(|message| read_message(message.object()?, ignored)).collect()
}

/// Only what the model has begun to say is for it to go on with.
fn check_continued(messages: &[ChatMessage], ending: Ending) -> Result<(), ApiError> {
    let is_own = messages.last().is_some_and(|message| message.role == Role::Assistant);
    if ending == Ending::Open && !is_own {
        let expected = "false unless the last message is the assistant's";
        return Err(ApiError::invalid_value("continue_final_message", expected));
    }
    Ok(())
}

fn read_message(mut fields: Fields, ignored: &mut Ignored) -> Result<ChatMessage, ApiError> {
    let role = read_role(fields.required("role")?)?;
    for name in ["audio", "function_call", "tool_calls"] {
        match fields.optional(name) {
            Some(field) if field.value().as_array().is_some_and(Vec::is_empty) => {}
            Some(field) => return Err(ApiError::unsupported(field.path())),
            None => {}
        }
    }
    // What a tool's answer belongs to; the text stands for itself.
    fields.optional("tool_call_id").map(Field::text).transpose()?;
    let parts = read_content(fields.required("content")?, ignored)?;
    fields.ignore_rest(ignored);
    Ok(ChatMessage { role, parts })
}

fn read_role(field: Field) -> Result<Role, ApiError> {
    let unknown = field.outside("one of system, developer, user, assistant, tool");
    match field.text()?.as_str() {
        "assistant" => Ok(Role::Assistant),
        "developer" => Ok(Role::Developer),
        "system" => Ok(Role::System),
        "tool" => Ok(Role::Tool),
        "user" => Ok(Role::User),
        _ => Err(unknown),
    }
}

fn read_content(field: Field, ignored: &mut Ignored) -> Result<Vec<String>, ApiError> {
    match field.value() {
        Value::String(_) => Ok(vec![field.text()?]),
        Value::Array(_) => {
            let parts = field.list(PARTS_MAX)?;
            parts.into_iter().map(|part| read_part(part.object()?, ignored)).collect()
        }
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::Object(_) => {
            Err(field.not("a string or a list of parts"))
        }
    }
}

fn read_part(mut part: Fields, ignored: &mut Ignored) -> Result<String, ApiError> {
    let field = part.required("type")?;
    let path = field.path().to_owned();
    match field.text()?.as_str() {
        "text" => {}
        "audio" | "file" | "image" | "image_url" | "input_audio" | "refusal" | "video_url" => {
            return Err(ApiError::unsupported(&path));
        }
        _ => return Err(ApiError::invalid_value(&path, "text")),
    }
    let text = part.required("text")?.text()?;
    part.ignore_rest(ignored);
    Ok(text)
}
