//! `POST /v1/completions`

mod chunk;
mod convert;
mod request;
mod response;

use runtime::{ModelCard, TokenLogprobs};

use super::fields::Fields;
use super::{ApiError, Ignored, Ready, Wire, logprobs, models};

/// The wire of completions.
pub(crate) struct CompletionWire;

impl Wire for CompletionWire {
    const ID: &'static str = "cmpl";
    const CHUNK: &'static str = "text_completion";
    const WHOLE: &'static str = "text_completion";
    const PROMPT: &'static str = "prompt";
    const OPENING: Option<&'static str> = None;

    const PROMPT_IN_CHOICE: bool = true;

    fn text(text: &str, logprobs: &str, members: &str) -> String {
        chunk::text(text, logprobs, members)
    }

    fn finish(finish: &str) -> String {
        chunk::finish(finish)
    }

    fn whole(text: &str, logprobs: &str, finish: &str, members: &str) -> String {
        response::choice(text, logprobs, finish, members)
    }

    fn logprobs(tokens: &[TokenLogprobs], written: &mut usize) -> String {
        logprobs::of_completion(tokens, written)
    }

    fn read(
        fields: Fields,
        card: &ModelCard,
        vocab: Option<u32>,
        ignored: &mut Ignored,
    ) -> Result<Ready, ApiError> {
        let completion = request::read(fields, &card.sampling, ignored)?;
        models::check(&completion.model, card)?;
        convert::ready(completion, vocab)
    }
}
