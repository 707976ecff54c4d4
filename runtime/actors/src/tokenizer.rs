//! Prompts become tokens: here, on threads of their own, when they are long.
//!
//! The same function serves short ones in place, on the arbiter they came in on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix::{Actor, Handler, SyncContext};
use engine_contract::TokenId;

use crate::message::Encode;
use crate::{Model, Prompt, Refused};

/// One of the threads that encode.
pub(crate) struct TokenizerActor {
    model: Arc<Model>,
}

impl TokenizerActor {
    /// An encoder for this model.
    pub(crate) fn new(model: Arc<Model>) -> Self {
        Self { model }
    }
}

impl Actor for TokenizerActor {
    type Context = SyncContext<Self>;
}

impl Handler<Encode> for TokenizerActor {
    type Result = Result<Arc<[TokenId]>, Refused>;

    fn handle(&mut self, encode: Encode, _ctx: &mut Self::Context) -> Self::Result {
        let Encode { prompt, place } = encode;
        let tokens = self::encode(&self.model, &prompt);
        drop(place);
        tokens
    }
}

/// The tokens of a prompt.
///
/// A panic in here would end the thread, or the worker, for one strange prompt; it costs that
/// prompt alone instead.
///
/// # Errors
/// No chat template, or one that refuses the conversation.
pub(crate) fn encode(model: &Model, prompt: &Prompt) -> Result<Arc<[TokenId]>, Refused> {
    catch_unwind(AssertUnwindSafe(|| tokens(model, prompt))).unwrap_or_else(|_| {
        tracing::error!("encoding a prompt panicked");
        Err(Refused::Unavailable)
    })
}

/// Bytes of text that have to be encoded.
pub(crate) fn text_bytes(prompt: &Prompt) -> usize {
    match prompt {
        Prompt::Chat(conversation) => conversation.text_bytes(),
        Prompt::Text(text) => text.len(),
        Prompt::Tokens(_) => 0,
    }
}

fn tokens(model: &Model, prompt: &Prompt) -> Result<Arc<[TokenId]>, Refused> {
    let tokenizer = &model.tokenizer;
    let ids = match prompt {
        Prompt::Chat(conversation) => {
            let template = model.template.as_ref().ok_or(Refused::NoChatTemplate)?;
            let rendered = template.render(conversation);
            let rendered = rendered.map_err(|error| Refused::Template(error.to_string()))?;
            tokenizer.encode_rendered(&rendered)
        }
        Prompt::Text(text) => tokenizer.encode_text(text),
        Prompt::Tokens(tokens) => return Ok(Arc::clone(tokens)),
    };
    Ok(ids.into_iter().map(TokenId).collect())
}
