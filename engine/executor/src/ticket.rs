//! A launched step.

use engine_backend::{BackendError, Event};
use engine_contract::{
    EngineError, Outcome, Sampled, SequenceId, StepId, StepOutput, Ticket, TokenId,
};

/// Waits for a backend's event, and says whose tokens came of it.
#[derive(Debug)]
pub(crate) struct StepTicket<E> {
    pub(crate) step: StepId,
    /// The sequences that draw, in the plan's order.
    pub(crate) sequences: Vec<SequenceId>,
    pub(crate) event: E,
}

impl<E: Event> Ticket for StepTicket<E> {
    fn wait(self: Box<Self>) -> Result<StepOutput, EngineError> {
        let Self { step, sequences, event } = *self;
        let tokens = event.wait().map_err(engine_error)?;
        assert_eq!(tokens.len(), sequences.len(), "one token for each sample");
        let sampled = sequences.into_iter().zip(tokens).map(|(sequence, token)| Sampled {
            sequence,
            outcome: token.map_or(Outcome::NotFinite, |token| Outcome::Token(TokenId(token))),
        });
        Ok(StepOutput { step, sampled: sampled.collect() })
    }
}

fn engine_error(error: BackendError) -> EngineError {
    match error {
        BackendError::Device(text) => EngineError::Device(text),
        BackendError::Lost(text) => EngineError::Lost(text),
        other @ (BackendError::Inputs { .. }
        | BackendError::OutOfMemory { .. }
        | BackendError::Unkept { .. }
        | BackendError::Unsupported(_)) => EngineError::Device(other.to_string()),
    }
}
