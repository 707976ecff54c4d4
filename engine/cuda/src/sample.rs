//! Drawing tokens from logits.
#![expect(unsafe_code, reason = "launches kernels")]

use crate::OpenError;
use crate::buffer::{Buffer, Element};
use crate::module::{Function, Modules};
use crate::queue::{Grid, Queue};
use crate::step::Step;
use crate::tally::TallyPlaces;

/// The kernel.
pub(crate) struct Samples(Function);

#[derive(Clone, Copy)]
#[repr(C)]
struct Sample {
    logits: u64,
    draws: u64,
    drawn: u64,
    logprobs: u64,
    seats: u64,
    tallies: TallyPlaces,
    width: i32,
}

impl Samples {
    pub(crate) fn load(modules: &Modules<'_>) -> Result<Self, OpenError> {
        modules.function("sample", "sample").map(Self)
    }

    /// Draws a token from each row of logits, and remembers it at its seat.
    pub(crate) fn launch(&self, queue: &Queue, logits: &Buffer, step: &Step) {
        let samples = step.counts().samples;
        assert_eq!(logits.rows(), samples, "a row of logits for each sample");
        let vocab = step.tallies().vocab();
        assert!(samples == 0 || logits.width() == vocab, "a logit for each of {vocab} tokens");
        let params = Sample {
            logits: logits.held(Element::F32),
            draws: step.draws(),
            drawn: step.drawn(),
            logprobs: step.logprobs(),
            seats: step.seats(),
            tallies: step.tallies().places(),
            width: logits.width() as i32,
        };
        // SAFETY: the step has a draw for each row, and a seat for each draw; its
        // tallies have a word for each logit.
        unsafe { queue.launch(self.0, Grid::new((samples, 1), 1024), &params) };
    }
}
