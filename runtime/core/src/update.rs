//! What goes out: what each request hears about the steps it was in.

use alloc::vec::Vec;
use core::ops::Range;

use engine_contract::{Logprobs, TokenId};

use crate::{CancelCause, RequestId};

/// Everything that happened since the last poll, at most one [`Update`] a request, sorted by id.
/// Recycled: polling into it again reuses its memory.
#[derive(Clone, Debug, Default)]
pub struct Updates {
    /// The updates, sorted by id.
    pub entries: Vec<Update>,
    /// The tokens of all updates, one after the other.
    pub tokens: Vec<TokenId>,
    /// The log-probabilities of those that came with some, one after the other.
    pub logprobs: Vec<Logprobs>,
}

/// What one request hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Who hears it.
    pub id: RequestId,
    /// The new tokens, in [`Updates::tokens`]. May be empty.
    pub tokens: Range<usize>,
    /// Their log-probabilities, in [`Updates::logprobs`]: for each token, if the request asked for
    /// them, and else for none.
    pub logprobs: Range<usize>,
    /// Prompt tokens found in the prefix cache, said once: with the request's first token.
    pub num_cached: Option<u32>,
    /// The request's one end; nothing follows it.
    pub end: Option<End>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Cancelled from outside.
    Cancelled(CancelCause),
    /// A deadline of its own passed.
    DeadlinePassed(Deadline),
    /// The engine failed under it.
    EngineFailed,
    /// It ran to its own end.
    Finished(Finish),
    /// Its own computation went wrong; others are unaffected.
    NotFinite,
}

/// Which of a request's deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deadline {
    /// The one for its first step: nothing of it was computed.
    Queue,
    /// The one for its whole output. It may have had some tokens.
    Whole,
}

/// Why an output is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// As many tokens as were asked for, or as the context holds.
    Length,
    /// This stop token, which is not among the tokens of any update.
    StopToken(TokenId),
}
