//! Chat templates: a conversation as the text that the model was trained on.
//!
//! The template comes from the model's file, never from a client, and is still not trusted: it is
//! Jinja without files, network or code, and rendering it is paid for by the byte (see [`meter`]).

mod compile;
mod date;
mod environment;
mod meter;
mod python;

use std::sync::Arc;

use minijinja::machinery::{Vm, make_string_output};
use minijinja::{AutoEscape, Value, context};

use crate::mark::Marker;
use crate::{Message, Rendered, TemplateError};
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

    /// Renders a conversation up to the place where the model answers.
    ///
    /// # Errors
    /// If the template refuses the messages in its own words, if it cannot make sense of them, or
    /// if it takes too long.
    pub fn render(&self, messages: &[Message]) -> Result<Rendered, TemplateError> {
        let meter = Arc::new(Meter::new(budget(messages)));
        let environment = environment::environment(&meter);
        let compiled = compile::compile(&self.source).map_err(|e| meter::template_error(&e))?;
        let context = context! {
            messages => messages.iter().map(|m| self.message(m)).collect::<Vec<Value>>(),
            bos_token => self.special.bos,
            eos_token => self.special.eos,
            add_generation_prompt => true,
        };
        let mut text = String::new();
        let mut output = make_string_output(&mut text);
        Vm::new(&environment)
            .eval(&compiled.instructions, context, &compiled.blocks, &mut output, AutoEscape::None)
            .map_err(|error| meter::template_error(&error))?;
        Ok(Rendered::new(text))
    }

    fn message(&self, message: &Message) -> Value {
        context! {
            role => self.marker.mark_inside(&message.role),
            content => self.marker.mark(&message.content),
        }
    }
}

/// Bytes that rendering may make. A template makes each message a few times over on its way.
fn budget(messages: &[Message]) -> usize {
    let given: usize = messages.iter().map(|m| m.role.len() + m.content.len()).sum();
    BUDGET_BYTES.saturating_add(given.saturating_mul(BUDGET_FACTOR))
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
