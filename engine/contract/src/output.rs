//! What the engine answers for one step.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{SequenceId, StepId, TokenId};

/// The result of one step.
#[derive(Clone, Debug)]
pub struct StepOutput {
    /// The step that this answers.
    pub step: StepId,
    /// One entry for each row that asked for a sample, in the plan's order.
    pub sampled: Vec<Sampled>,
    /// From the end of the step before to the begin of this one, as the device has it; zero for an
    /// engine's first step.
    pub gap: Duration,
}

/// What one sampling row produced.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// Whose row it was.
    pub sequence: SequenceId,
    /// The token, or why there is none.
    pub outcome: Outcome,
    /// If the row asked for them, and there is a token.
    pub logprobs: Option<Box<Logprobs>>,
}

/// The end of one row's computation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// The logits were not finite. That sequence is beyond use; the others are not.
    NotFinite,
    /// The sampled token.
    Token(TokenId),
}

/// Logarithms of probabilities, of the softmax of the logits as the model gave them: before biases,
/// penalties, temperature and filters.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// Of the token that was drawn.
    pub drawn: f32,
    /// Of the most likely tokens, as many as were asked for and there are; the most likely first,
    /// and of equal ones the lowest id.
    pub top: Vec<Logprob>,
}

/// A token, and the logarithm of its probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Logprob {
    /// Which token.
    pub token: TokenId,
    /// At most 0.
    pub logprob: f32,
}

impl Sampled {
    /// A token without log-probabilities, or why there is none.
    #[must_use]
    pub const fn bare(sequence: SequenceId, outcome: Outcome) -> Self {
        Self { sequence, outcome, logprobs: None }
    }
}
