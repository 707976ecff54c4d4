//! A launched step.

use engine_backend::{BackendError, Drawn, Event};
use engine_contract::{
    EngineError, Logprob, Logprobs, Outcome, Sampled, SequenceId, StepId, StepOutput, Ticket,
    TokenId,
};

/// Waits for a backend's event, and says whose tokens came of it.
#[derive(Debug)]
pub(crate) struct StepTicket<E> {
    pub(crate) step: StepId,
    /// What draws, in the plan's order.
    pub(crate) awaited: Vec<Awaited>,
    pub(crate) event: E,
}

/// A row that draws.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awaited {
    pub(crate) sequence: SequenceId,
    /// Whether it asked for log-probabilities.
    pub(crate) logprobs: bool,
}

impl<E: Event> Ticket for StepTicket<E> {
    fn wait(self: Box<Self>) -> Result<StepOutput, EngineError> {
        let Self { step, awaited, event } = *self;
        let drawn = event.wait().map_err(engine_error)?;
        let Drawn { tokens, logprobs, gap } = drawn;
        assert_eq!(tokens.len(), awaited.len(), "one token for each sample");
        let mut logprobs = logprobs.into_iter();
        let sampled = awaited.into_iter().zip(tokens).map(|(row, token)| {
            let Some(token) = token else {
                return Sampled::bare(row.sequence, Outcome::NotFinite);
            };
            let logprobs = row.logprobs.then(|| {
                Box::new(named(logprobs.next().expect("who asks for log-probabilities gets them")))
            });
            Sampled { logprobs, ..Sampled::bare(row.sequence, Outcome::Token(TokenId(token))) }
        });
        Ok(StepOutput { step, sampled: sampled.collect(), gap })
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

fn named(logprobs: engine_backend::Logprobs) -> Logprobs {
    let top = logprobs.top.into_iter();
    let top = top.map(|(token, logprob)| Logprob { token: TokenId(token), logprob });
    Logprobs { drawn: logprobs.drawn, top: top.collect() }
}
