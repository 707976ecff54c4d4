//! What the engine answers for one step.

use alloc::vec::Vec;

use crate::{SequenceId, StepId, TokenId};

/// The result of one step.
#[derive(Clone, Debug)]
pub struct StepOutput {
    /// The step that this answers.
    pub step: StepId,
    /// One entry for each row that asked for a sample, in the plan's order.
    pub sampled: Vec<Sampled>,
}

/// What one sampling row produced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    /// Whose row it was.
    pub sequence: SequenceId,
    /// The token, or why there is none.
    pub outcome: Outcome,
}

/// The end of one row's computation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// The logits were not finite. That sequence is beyond use; the others are not.
    NotFinite,
    /// The sampled token.
    Token(TokenId),
}
