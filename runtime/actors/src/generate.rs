//! What a front end asks for, and what it hears back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use engine_contract::{Sampling, TokenId};
use runtime_core::Rejected;

use crate::tenancy::{Caller, Timeouts};

/// One prompt to continue, as a front end says it.
#[derive(Clone, Debug)]
pub struct Generate {
    /// The given text.
    pub prompt: Prompt,
    /// How it becomes tokens.
    pub encoding: Encoding,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens to generate; `None` as many as the context holds.
    pub max_tokens: Option<u32>,
    /// Fewest tokens to generate before the model may end.
    pub min_tokens: u32,
    /// Strings that end the output. None is empty.
    pub stop: Vec<String>,
    /// Tokens that end the output, besides the model's own.
    pub stop_tokens: Vec<TokenId>,
    /// Whether the model's own end tokens end the output.
    pub ends: Ends,
    /// What of the output has text.
    pub shown: Shown,
    /// On whose account, and by when.
    pub terms: Terms,
}

/// On whose account a prompt is continued, and by when.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Whom it is from; `None` is whoever comes without a key.
    pub caller: Option<Caller>,
    /// The front end's name for it, for the usage record.
    pub name: String,
    /// How urgent it is among its tenant's own requests; 0 is the least.
    pub priority: u8,
    /// The longest that it may take; its tenant's own timeouts hold as well.
    pub timeouts: Timeouts,
}

/// How a prompt becomes tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Whether a text begins with the token that the vocabulary says prompts begin with.
    pub begins: bool,
    /// How much of a long prompt counts.
    pub kept: Kept,
}

/// How much of a prompt counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All of it.
    All,
    /// As many of its last tokens as the context holds beside the output that is asked for.
    Fitting,
    /// So many of its last tokens, at least one.
    Last(u32),
}

/// All of the prompt, begun as the vocabulary says.
impl Default for Encoding {
    fn default() -> Self {
        Self { begins: true, kept: Kept::All }
    }
}

/// What of the output has text, and what its tokens are called.
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Whether the stop string or the stop token that ends the output is part of it.
    pub stop: bool,
    /// Whether control tokens are shown as they are written.
    pub control: bool,
    /// Whether log-probabilities name tokens `token_id:N`, by their ids.
    pub ids: bool,
    /// Whether the tokens themselves are said.
    pub tokens: bool,
}

/// Whether the model's own end tokens end the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// They do.
    Heed,
    /// They are tokens like any other (`ignore_eos`).
    Ignore,
}

/// The given text, in the form it came.
#[derive(Clone, Debug)]
pub enum Prompt {
    /// A conversation, for the model's chat template.
    Chat(runtime_text::Conversation),
    /// Plain text. Control tokens written out in it are control tokens.
    Text(String),
    /// Tokens.
    Tokens(Arc<[TokenId]>),
}

/// What a generation says, in order: any number of `Text`, then one `End` or `Failed`.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// The output is complete.
    End {
        /// Why.
        finish: FinishReason,
        /// What it took.
        usage: Usage,
    },
    /// The output ends here without being complete.
    Failed(Failure),
    /// More of the output. Deltas that a slow reader did not take are merged.
    Text {
        /// Complete characters; may be empty while a character or a stop string is undecided.
        text: String,
        /// Tokens that the text came from.
        num_tokens: u32,
        /// For each of those tokens, if they were asked for.
        logprobs: Vec<TokenLogprobs>,
        /// The tokens, if they were asked for; before the end also the stop token, which has no
        /// text and is not among `num_tokens`.
        tokens: Vec<TokenId>,
    },
}

/// How likely a token of the output was, and what else was likely; see the contract's `Logprobs`.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// The token itself.
    pub drawn: NamedLogprob,
    /// The most likely ones, the most likely first.
    pub top: Vec<NamedLogprob>,
}

/// A token by name, and the logarithm of its probability.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedLogprob {
    /// The bytes that it stands for, which need not be whole characters, or a control token's own
    /// text.
    pub name: Vec<u8>,
    /// At most 0.
    pub logprob: f32,
}

/// Why an output is complete, in the words of OpenAI's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// `max_tokens`, or the context, is reached.
    Length,
    /// An end token or a stop string.
    Stop,
    /// The request's own time was up. Before its first token that is a [`Failure`].
    Timeout,
}

/// Why an output ends without being complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A deadline of its own passed before its first token.
    DeadlinePassed,
    /// The drain deadline passed.
    Draining,
    /// The engine failed.
    Engine,
    /// This request's own computation went wrong.
    NotFinite,
    /// The client took nothing for too long.
    Stalled,
}

/// Tokens that a generation took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt: u32,
    /// Of those, found in the prefix cache.
    pub cached: u32,
    /// Tokens generated. An end token counts, though it has no text.
    pub output: u32,
}

/// Why a generation did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The model has no chat template.
    #[error("this model has no chat template; use /v1/completions")]
    NoChatTemplate,
    /// Its tenant has had what it may take a minute.
    #[error("this tenant's limit of {per_minute} {limit} a minute is reached")]
    RateLimited {
        /// What there is no more of.
        limit: RateLimit,
        /// How many there are in a minute.
        per_minute: u64,
        /// When there will be enough, if the tenant asks for nothing else.
        retry_after: Duration,
    },
    /// The scheduler refused.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The chat template refused the conversation; its own words.
    #[error("the chat template refused the messages: {0}")]
    Template(String),
    /// No engine serves now: starting, failed, restarting or stopping.
    #[error("the engine is not serving")]
    Unavailable,
    /// Nobody is served who does not say who it is.
    #[error("requests without a key are not served")]
    UnknownCaller,
    /// A token is not in the vocabulary.
    #[error("token {token} is not in the vocabulary of {vocab} tokens")]
    UnknownToken {
        /// The token.
        token: u32,
        /// The size of the vocabulary.
        vocab: u32,
    },
}

/// What a tenant may take a number of in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimit {
    /// Requests.
    Requests,
    /// Tokens of prompts and outputs.
    Tokens,
}

impl RateLimit {
    /// One word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
