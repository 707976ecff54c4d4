//! What comes in: requests, and why they are refused or cancelled.

use alloc::sync::Arc;
use core::fmt;

use engine_contract::{Sampling, TokenId};

/// A request, for as long as the process lives. Never reused. The shell mints it as
/// `hub << 48 | serial`, so ids sorted are grouped by hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A moment, in microseconds since an origin that the caller chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

/// One prompt to continue.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its name in everything that follows.
    pub id: RequestId,
    /// The given tokens; at least one.
    pub prompt: Arc<[TokenId]>,
    /// Most tokens to generate; at least one. The context bounds it further.
    pub max_tokens: u32,
    /// Fewest tokens to generate before a stop token counts.
    pub min_tokens: u32,
    /// Tokens that end the output. The one that ends it is not delivered.
    pub stop_tokens: Arc<[TokenId]>,
    /// How tokens are drawn.
    pub sampling: Arc<Sampling>,
    /// Keeps prefix-cache entries apart: only requests of equal salt share blocks.
    pub salt: u64,
}

/// Why a request was not taken. Nothing is owed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The prompt leaves no room for one token of output in the context.
    ContextExceeded {
        /// Tokens of the prompt.
        prompt: u32,
        /// The model's context.
        context: u32,
    },
    /// Finishing what runs, taking nothing new.
    Draining,
    /// The prompt has no token.
    EmptyPrompt,
    /// The prompt alone needs more cache than the whole pool has.
    ExceedsCache {
        /// Tokens of the prompt.
        prompt: u32,
        /// Positions in the whole pool.
        capacity: u32,
    },
    /// As many requests, or prompt tokens, wait as may.
    QueueFull {
        /// Requests waiting.
        waiting: u32,
    },
}

/// Why a request was cancelled from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelCause {
    /// The client went away.
    Disconnect,
    /// The drain deadline passed.
    Drain,
    /// The client took nothing for too long.
    Stall,
    /// The session found a stop string; the client has its finish already.
    StopString,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ContextExceeded { prompt, context } => write!(
                f,
                "the prompt has {prompt} tokens, and the model's context of {context} must hold at \
                 least one more"
            ),
            Self::Draining => f.write_str("the server is shutting down"),
            Self::EmptyPrompt => f.write_str("the prompt has no tokens"),
            Self::ExceedsCache { prompt, capacity } => write!(
                f,
                "the prompt has {prompt} tokens, and the whole key-value cache holds {capacity}"
            ),
            Self::QueueFull { waiting } => {
                write!(f, "the queue is full: {waiting} requests are waiting")
            }
        }
    }
}

impl core::error::Error for Rejected {}
