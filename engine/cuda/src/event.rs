//! The end of a step.

use std::sync::Arc;
use std::time::Duration;

use engine_backend::{BackendError, Drawn, Event, LOGPROBS_MAX, Logprobs};

use crate::fault::{Faults, device_error};
use crate::step::{Slot, Wanted};

/// What a draw gives where logits are not finite.
const NOT_FINITE: u32 = u32::MAX;

/// Words of a row's log-probabilities: of the drawn token, of the likeliest, and which those are.
pub(crate) const LOGPROB_WORDS: usize = 1 + 2 * LOGPROBS_MAX as usize;

/// The end of a step; holds the memory that its tokens land in.
pub struct Done {
    pub(crate) slot: Arc<Slot>,
    /// Of the step before, if there was one.
    pub(crate) before: Option<Arc<Slot>>,
    pub(crate) samples: usize,
    /// Rows that asked for log-probabilities.
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) vocab: usize,
    pub(crate) faults: Faults,
}

impl Event for Done {
    fn wait(self) -> Result<Drawn, BackendError> {
        // Makes the context current first: whoever waits need not be the thread that launched.
        self.slot.end.synchronize().map_err(device_error)?;
        self.faults.check()?;
        let drawn = &self.slot.drawn.words()[..self.samples];
        let token = |&token: &u32| (token != NOT_FINITE).then_some(token);
        let tokens: Vec<_> = drawn.iter().map(token).collect();
        let wanted = self.wanted.iter().filter(|wanted| tokens[wanted.row].is_some());
        let logprobs = wanted.map(|wanted| self.logprobs(wanted)).collect();
        Ok(Drawn { tokens, logprobs, gap: self.gap()? })
    }
}

impl Done {
    fn logprobs(&self, wanted: &Wanted) -> Logprobs {
        let words = &self.slot.logprobs.words()[wanted.row * LOGPROB_WORDS..][..LOGPROB_WORDS];
        let (logprobs, tokens) = words[1..].split_at(LOGPROBS_MAX as usize);
        let top = tokens.iter().zip(logprobs).take((wanted.top as usize).min(self.vocab));
        let top = top.map(|(token, logprob)| (*token, f32::from_bits(*logprob))).collect();
        Logprobs { drawn: f32::from_bits(words[0]), top }
    }

    fn gap(&self) -> Result<Duration, BackendError> {
        let Some(before) = &self.before else { return Ok(Duration::ZERO) };
        let millis = before.end.elapsed_ms(&self.slot.begin).map_err(device_error)?;
        Ok(Duration::from_secs_f64(f64::from(millis.max(0.0)) / 1e3))
    }
}
