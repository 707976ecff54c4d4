//! Chat templates: a conversation as the text that the model was trained on.
//!
//! The template comes from the model's file, never from a client, and is still not trusted: it is
//! Jinja without files, network or code, and rendering it is paid for by the byte (see [`meter`]).

mod compile;
mod continued;
mod date;
mod environment;
mod meter;
mod python;

use std::collections::BTreeSet;
use std::sync::Arc;

use minijinja::machinery::{Vm, make_string_output};
use minijinja::{AutoEscape, Environment, Value, context};

use crate::mark::Marker;
use crate::{Conversation, Ending, Message, Rendered, TemplateError};
use meter::Meter;

/// A model's chat template, ready to render.
pub struct ChatTemplate {
    source: String,
    special: SpecialTokens,
    marker: Marker,
}

/// The texts of a model's control tokens; [`crate::Tokenizer::special_tokens`] has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// What a template calls `bos_token`; empty if there is none.
    pub bos: String,
    /// What a template calls `eos_token`; empty if there is none.
    pub eos: String,
    /// Every control token, those two among them. Where a message contains one, it stays text.
    pub control: Vec<String>,
}

impl ChatTemplate {
    /// Checks a template.
    ///
    /// # Errors
    /// If it is not Jinja, or too long.
    pub fn new(source: &str, special: SpecialTokens) -> Result<Self, TemplateError> {
        if source.len() > SOURCE_BYTES_MAX {
            let len = source.len();
            return Err(TemplateError::SourceTooLong { len, max: SOURCE_BYTES_MAX });
        }
        let source = compile::without_generation_tags(source).into_owned();
        compile::compile(&source).map_err(|error| TemplateError::Syntax(error.to_string()))?;
        Ok(Self { source, marker: Marker::new(&special.control), special })
    }

    /// The names that the template reads and does not set before: what
    /// [`Conversation::variables`] can tell it, and what every template is given.
    pub fn variables(&self) -> BTreeSet<String> {
        let environment = Environment::new();
        let template = environment.template_from_str(&self.source);
        template.map(|it| it.undeclared_variables(false)).unwrap_or_default().into_iter().collect()
    }

    /// Renders a conversation up to the place where the model goes on.
    ///
    /// # Errors
    /// If the template refuses the messages in its own words, if it cannot make sense of them, if
    /// it takes too long, or if it does not show a last message that is to go on.
    pub fn render(&self, conversation: &Conversation) -> Result<Rendered, TemplateError> {
        let text = self.render_whole(conversation)?;
        match conversation.ending {
            Ending::Answer | Ending::Closed => Ok(Rendered::new(text)),
            Ending::Open => Ok(Rendered::new(continued::cut(text, conversation)?)),
        }
    }

    fn render_whole(&self, conversation: &Conversation) -> Result<String, TemplateError> {
        let meter = Arc::new(Meter::new(budget(conversation)));
        let environment = environment::environment(&meter);
        let compiled = compile::compile(&self.source).map_err(|e| meter::template_error(&e))?;
        let context = context! {
            messages => self.messages(conversation),
            bos_token => self.special.bos,
            eos_token => self.special.eos,
            add_generation_prompt => conversation.ending == Ending::Answer,
            ..self.variables_of(conversation),
        };
        let mut text = String::new();
        let mut output = make_string_output(&mut text);
        Vm::new(&environment)
            .eval(&compiled.instructions, context, &compiled.blocks, &mut output, AutoEscape::None)
            .map_err(|error| meter::template_error(&error))?;
        Ok(text)
    }

    fn messages(&self, conversation: &Conversation) -> Vec<Value> {
        let last = conversation.messages.len().wrapping_sub(1);
        let all = conversation.messages.iter().enumerate();
        all.map(|(index, message)| {
            let goes_on = index == last && conversation.ending == Ending::Open;
            self.message(message, if goes_on { continued::TAG } else { "" })
        })
        .collect()
    }

    fn message(&self, message: &Message, tag: &str) -> Value {
        context! {
            role => self.marker.mark_inside(&message.role),
            content => self.marker.mark(&message.content) + tag,
        }
    }

    /// They come from a client, so no control token may come of them either.
    fn variables_of(&self, conversation: &Conversation) -> Value {
        let all = conversation.variables.iter();
        all.map(|(name, value)| (name.clone(), self.variable(value))).collect()
    }

    fn variable(&self, value: &serde_json::Value) -> Value {
        match value {
            serde_json::Value::Array(values) => {
                values.iter().map(|value| self.variable(value)).collect()
            }
            serde_json::Value::Object(map) => {
                let marked =
                    |(name, value): (&String, _)| (self.marker.mark(name), self.variable(value));
                map.iter().map(marked).collect()
            }
            serde_json::Value::String(text) => Value::from(self.marker.mark(text)),
            serde_json::Value::Bool(_) | serde_json::Value::Null | serde_json::Value::Number(_) => {
                Value::from_serialize(value)
            }
        }
    }
}

/// Bytes that rendering may make. A template makes each message a few times over on its way.
fn budget(conversation: &Conversation) -> usize {
    BUDGET_BYTES.saturating_add(conversation.text_bytes().saturating_mul(BUDGET_FACTOR))
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").field("source", &self.source).finish_non_exhaustive()
    }
}

/// The longest templates in use have some twenty thousand bytes.
const SOURCE_BYTES_MAX: usize = 256 << 10;
const BUDGET_BYTES: usize = 16 << 20;
const BUDGET_FACTOR: usize = 64;

#[cfg(test)]
mod tests;
