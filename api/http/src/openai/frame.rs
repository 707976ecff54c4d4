//! What every chunk of one output shares, serialised once.
//!
//! A chunk is `head choices tail`; only the choices differ, so a token costs one escaped string.

use std::time::{SystemTime, UNIX_EPOCH};

use runtime::{FinishReason, ModelCard, TokenLogprobs};

use super::controls::UsageChunk;
use super::fields::Fields;
use super::fold::Output;
use super::usage::Usage;
use super::{ApiError, Ignored, Ready, escape, finish};
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

    /// The choice of a chunk of text; both are JSON.
    fn text(text: &str, logprobs: &str) -> String;
    /// The choice of the last chunk; `finish` is a plain word.
    fn finish(finish: &str) -> String;
    /// The choice of a whole answer; `text` and `logprobs` are JSON and `finish` a plain word.
    fn whole(text: &str, logprobs: &str, finish: &str) -> String;
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
}

impl Frame {
    /// The frame of a stream.
    pub(crate) fn of_chunks<W: Wire>(model: &str, usage: UsageChunk) -> Self {
        let tail = match usage {
            UsageChunk::Absent => "]}",
            UsageChunk::Last => r#"],"usage":null}"#,
        };
        Self { head: head(W::ID, W::CHUNK, model), tail, usage }
    }

    /// The chunk before any text.
    pub(crate) fn opening<W: Wire>(&self) -> Option<String> {
        W::OPENING.map(|choice| self.chunk(choice))
    }

    /// A chunk of text; `logprobs` is JSON.
    pub(crate) fn text<W: Wire>(&self, text: &str, logprobs: &str) -> String {
        self.chunk(&W::text(&escape(text), logprobs))
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

/// A whole answer.
pub(crate) fn whole<W: Wire>(model: &str, output: &Output) -> String {
    let logprobs = W::logprobs(&output.logprobs, &mut 0);
    let choice = W::whole(&escape(&output.text), &logprobs, finish::word(output.finish));
    let usage = Usage::from(output.usage).json();
    format!(r#"{}{choice}],"usage":{usage}}}"#, head(W::ID, W::WHOLE, model))
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
