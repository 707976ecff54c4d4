//! What a chat template is given: messages, how they end, and variables of its own.

use crate::Message;

/// A conversation, and how it is to be rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// In order.
    pub messages: Vec<Message>,
    /// What follows the last message.
    pub ending: Ending,
    /// What the template reads besides, by name. What it does not read changes nothing, and its own
    /// names (`messages`, `bos_token`, ...) stay its own.
    pub variables: Vec<(String, serde_json::Value)>,
}

/// What follows the last message of a rendered conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// The beginning of an answer.
    #[default]
    Answer,
    /// Nothing: the last message is ended.
    Closed,
    /// Nothing, not even its end: the last message goes on.
    Open,
}

impl Conversation {
    /// Bytes of text that rendering starts from, about.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let messages = self.messages.iter().map(|m| m.role.len() + m.content.len());
        let variables = self.variables.iter().map(|(name, value)| name.len() + bytes_of(value));
        messages.chain(variables).sum()
    }
}

/// Messages that are to be answered.
impl From<Vec<Message>> for Conversation {
    fn from(messages: Vec<Message>) -> Self {
        Self { messages, ending: Ending::default(), variables: Vec::new() }
    }
}

/// A parser of JSON bounds how deep this goes.
fn bytes_of(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(values) => values.iter().map(bytes_of).sum(),
        serde_json::Value::Object(map) => {
            map.iter().map(|(name, value)| name.len() + bytes_of(value)).sum()
        }
        serde_json::Value::String(text) => text.len(),
        serde_json::Value::Bool(_) | serde_json::Value::Null | serde_json::Value::Number(_) => 1,
    }
}
