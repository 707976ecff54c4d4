//! What every chunk of one output shares, serialised once.
//!
//! A chunk is `head choices tail`; only the choices differ, so a token costs one escaped string.

use std::time::{SystemTime, UNIX_EPOCH};

use engine_contract::TokenId;
use runtime::{FinishReason, ModelCard, TokenLogprobs};

use super::controls::UsageChunk;
use super::fields::Fields;
use super::fold::Output;
use super::usage::Usage;
use super::{ApiError, Ignored, Ready, escape, finish, logprobs, tokens};
use crate::request_id::mint;

/// Changes when the same seed may give other tokens: with the server.
const FINGERPRINT: &str = concat!("antiphon-", env!("CARGO_PKG_VERSION"));
const ID_LENGTH: usize = 29;

/// The wire of one endpoint: what tells its answers from the other's.
pub(crate) trait Wire: 'static {
    /// What its ids begin with.
    const ID: &'static str;
    /// `object` of a chunk.
    const CHUNK: &'static str;
    /// `object` of a whole answer.
    const WHOLE: &'static str;
    /// The field that the prompt comes in.
    const PROMPT: &'static str;
    /// The choice of the chunk before any text, if there is one.
    const OPENING: Option<&'static str>;

    /// Reads a body that asks something of the served model; `vocab` is the engine's number of
    /// tokens, once it is known.
    ///
    /// # Errors
    /// The first field that is missing, of a wrong type or value, or not supported.
    fn read(
        fields: Fields,
        card: &ModelCard,
        vocab: Option<u32>,
        ignored: &mut Ignored,
    ) -> Result<Ready, ApiError>;

    /// Whether the tokens of the prompt are a member of the choice, or else of the answer.
    const PROMPT_IN_CHOICE: bool;

    /// The choice of a chunk of text; all are JSON, and each of the `members` has a comma before
    /// it.
    fn text(text: &str, logprobs: &str, members: &str) -> String;
    /// The choice of the last chunk; `finish` is a plain word.
    fn finish(finish: &str) -> String;
    /// The choice of a whole answer; `text`, `logprobs` and `members` are JSON as in
    /// [`Self::text`], and `finish` is a plain word.
    fn whole(text: &str, logprobs: &str, finish: &str, members: &str) -> String;
    /// Log-probabilities of tokens as JSON, null if there are none. `written` counts the characters
    /// of all tokens so far.
    fn logprobs(tokens: &[TokenLogprobs], written: &mut usize) -> String;
}

/// What surrounds the choices of one output.
pub(crate) struct Frame {
    head: String,
    /// After the choices of every chunk but the one of usage.
    tail: &'static str,
    usage: UsageChunk,
    /// The tokens of the prompt as JSON, if tokens are told.
    prompt: Option<String>,
}

impl Frame {
    /// The frame of a stream; `prompt` are its tokens as JSON, if tokens are told.
    pub(crate) fn of_chunks<W: Wire>(
        model: &str,
        usage: UsageChunk,
        prompt: Option<String>,
    ) -> Self {
        let tail = match usage {
            UsageChunk::Absent => "]}",
            UsageChunk::Last => r#"],"usage":null}"#,
        };
        Self { head: head(W::ID, W::CHUNK, model), tail, usage, prompt }
    }

    /// The chunk before any text.
    pub(crate) fn opening<W: Wire>(&self) -> Option<String> {
        let Some(prompt) = &self.prompt else { return W::OPENING.map(|choice| self.chunk(choice)) };
        let members = prompt_member(prompt);
        if W::PROMPT_IN_CHOICE {
            let members = format!("{members}{}", tokens_member(&[]));
            return Some(self.chunk(&W::text(r#""""#, logprobs::NONE, &members)));
        }
        let (end, tail) = self.tail.split_at(1);
        W::OPENING.map(|choice| [self.head.as_str(), choice, end, &members, tail].concat())
    }

    /// A chunk of text; `logprobs` is JSON.
    pub(crate) fn text<W: Wire>(&self, text: &str, logprobs: &str, tokens: &[TokenId]) -> String {
        let members = self.prompt.as_ref().map(|_| tokens_member(tokens)).unwrap_or_default();
        self.chunk(&W::text(&escape(text), logprobs, &members))
    }

    /// The chunk that says why the output is complete.
    pub(crate) fn finish<W: Wire>(&self, reason: FinishReason) -> String {
        self.chunk(&W::finish(finish::word(reason)))
    }

    /// The chunk of usage, if it was asked for.
    pub(crate) fn usage(&self, usage: runtime::Usage) -> Option<String> {
        match self.usage {
            UsageChunk::Absent => None,
            UsageChunk::Last => {
                Some(format!(r#"{}],"usage":{}}}"#, self.head, Usage::from(usage).json()))
            }
        }
    }

    fn chunk(&self, choice: &str) -> String {
        [&self.head, choice, self.tail].concat()
    }
}

fn tokens_member(tokens: &[TokenId]) -> String {
    format!(r#","token_ids":{}"#, tokens::list(tokens))
}

fn prompt_member(prompt: &str) -> String {
    format!(r#","prompt_token_ids":{prompt}"#)
}

/// A whole answer; `prompt` are the prompt's tokens as JSON, if tokens are told.
pub(crate) fn whole<W: Wire>(model: &str, output: &Output, prompt: Option<&str>) -> String {
    let logprobs = W::logprobs(&output.logprobs, &mut 0);
    let (mut in_choice, mut in_answer) = (String::new(), String::new());
    if let Some(prompt) = prompt {
        in_choice = tokens_member(&output.tokens);
        let place = if W::PROMPT_IN_CHOICE { &mut in_choice } else { &mut in_answer };
        place.push_str(&prompt_member(prompt));
    }
    let finish = finish::word(output.finish);
    let choice = W::whole(&escape(&output.text), &logprobs, finish, &in_choice);
    let usage = Usage::from(output.usage).json();
    format!(r#"{}{choice}],"usage":{usage}{in_answer}}}"#, head(W::ID, W::WHOLE, model))
}

fn head(id: &str, object: &str, model: &str) -> String {
    format!(
        r#"{{"id":"{id}-{}","object":"{object}","created":{},"model":{},"system_fingerprint":"{FINGERPRINT}","choices":["#,
        mint(ID_LENGTH),
        seconds_since_1970(),
        escape(model),
    )
}

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
