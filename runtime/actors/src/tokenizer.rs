//! Prompts become tokens: here, on threads of their own, when they are long.
//!
//! The same function serves short ones in place, on the arbiter they came in on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use actix::{Actor, Handler, SyncContext};
use engine_contract::TokenId;

use crate::message::Encode;
use crate::{Encoding, Kept, Model, Prompt, Refused};

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
        let Encode { prompt, encoding, place } = encode;
        let tokens = self::encode(&self.model, &prompt, encoding);
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
pub(crate) fn encode(
    model: &Model,
    prompt: &Prompt,
    encoding: Encoding,
) -> Result<Arc<[TokenId]>, Refused> {
    catch_unwind(AssertUnwindSafe(|| tokens(model, prompt, encoding))).unwrap_or_else(|_| {
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

fn tokens(model: &Model, prompt: &Prompt, encoding: Encoding) -> Result<Arc<[TokenId]>, Refused> {
    let tokenizer = &model.tokenizer;
    let ids = match prompt {
        Prompt::Chat(conversation) => {
            let template = model.template.as_ref().ok_or(Refused::NoChatTemplate)?;
            let rendered = template.render(conversation);
            let rendered = rendered.map_err(|error| Refused::Template(error.to_string()))?;
            match encoding.begins {
                true => tokenizer.encode_rendered(&rendered),
                false => tokenizer.encode_rendered_alone(&rendered),
            }
        }
        Prompt::Text(text) if encoding.begins => tokenizer.encode_text(text),
        Prompt::Text(text) => tokenizer.encode_text_alone(text),
        Prompt::Tokens(tokens) => {
            let last = last(tokens, encoding.kept);
            let is_all = last.len() == tokens.len();
            return Ok(if is_all { Arc::clone(tokens) } else { last.into() });
        }
    };
    Ok(last(&ids, encoding.kept).iter().copied().map(TokenId).collect())
}

/// The worker, which knows the context, has said how many tokens fit.
fn last<T>(tokens: &[T], kept: Kept) -> &[T] {
    match kept {
        Kept::All | Kept::Fitting => tokens,
        Kept::Last(max) => &tokens[tokens.len().saturating_sub(max as usize)..],
    }
}
