//! `POST /v1/chat/completions`

mod chunk;
mod convert;
mod request;
mod response;
mod template;

use runtime::{ModelCard, TokenLogprobs};

use super::fields::Fields;
use super::{ApiError, Ignored, Ready, Wire, logprobs, models};

/// The wire of chats.
pub(crate) struct ChatWire;

impl Wire for ChatWire {
    const ID: &'static str = "chatcmpl";
    const CHUNK: &'static str = "chat.completion.chunk";
    const WHOLE: &'static str = "chat.completion";
    const PROMPT: &'static str = "messages";
    const OPENING: Option<&'static str> = Some(chunk::OPENING);

    const PROMPT_IN_CHOICE: bool = false;

    fn text(text: &str, logprobs: &str, members: &str) -> String {
        chunk::text(text, logprobs, members)
    }

    fn finish(finish: &str) -> String {
        chunk::finish(finish)
    }

    fn whole(text: &str, logprobs: &str, finish: &str, members: &str) -> String {
        response::choice(text, logprobs, finish, members)
    }

    fn logprobs(tokens: &[TokenLogprobs], _: &mut usize) -> String {
        logprobs::of_chat(tokens)
    }

    fn read(
        fields: Fields,
        card: &ModelCard,
        vocab: Option<u32>,
        ignored: &mut Ignored,
    ) -> Result<Ready, ApiError> {
        let chat = request::read(fields, card, ignored)?;
        models::check(&chat.model, card)?;
        convert::ready(chat, vocab)
    }
}
