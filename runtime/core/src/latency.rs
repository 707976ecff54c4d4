//! How much of a step prompts may have, so that running streams get their next token in time.
//!
//! A step with decodes in it is to take no longer than the target, by the [`Forecast`]: chunks are
//! cut to what fits. Where not even a small chunk does, steps of decodes alone save up the time for
//! it, so that the target holds on average. Prompts never wait for ever: after [`WITHHELD_MAX`]
//! such steps one chunk is planned whatever it takes. If decodes alone leave nothing to save, it
//! may take as long as they do, so that prompts get on with a tenth of the time.
//!
//! Decodes are never held back here, nor is a step without any cut short.

use crate::budget::Draft;
use crate::forecast::Forecast;
use crate::sequence::Sequence;
use crate::work::Work;

/// A shorter chunk is not worth its step, unless nothing more is left of a text.
pub(crate) const CHUNK_MIN: u32 = 16;

/// Most steps in a row without a chunk although a prompt wants one.
pub(crate) const WITHHELD_MAX: u32 = 8;

/// The target, and what has been withheld for its sake.
pub(crate) struct Latency {
    /// Microseconds; 0 is no target.
    target_us: f64,
    pub(crate) forecast: Forecast,
    /// Steps in a row in which prompts had no chunk.
    num_withheld: u32,
    /// What those took less than the target allows, and no chunk has taken more since.
    saved_us: f64,
}

/// What the step being planned takes so far, and whom it must not keep waiting.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pace {
    /// All rows so far.
    pub(crate) work: Work,
    /// The rows of running streams; `None` if there is nobody to protect.
    decodes: Option<Work>,
    num_chunks: u32,
    is_withheld: bool,
}

impl Latency {
    pub(crate) fn new(target_us: u64) -> Self {
        let target_us = target_us as f64;
        Self { target_us, forecast: Forecast::new(), num_withheld: 0, saved_us: 0.0 }
    }

    /// All decodes are in the step: what follows must not make it too long for them.
    pub(crate) fn protect(&self, draft: &mut Draft) {
        let is_bounded = self.target_us > 0.0 && self.forecast.is_known();
        draft.pace.decodes = (is_bounded && !draft.rows.is_empty()).then_some(draft.pace.work);
    }

    /// How many of the next `len` positions of a sequence the step has time for, if they begin at
    /// `start`.
    pub(crate) fn chunk(&self, draft: &Draft, sequence: &Sequence, start: u32, len: u32) -> u32 {
        let Some(decodes) = draft.pace.decodes else { return len };
        let time_us = |len| {
            let row = Work::row(start, len, start + len == sequence.horizon());
            self.forecast.time_us(draft.pace.work.plus(row))
        };
        let is_first = draft.pace.num_chunks == 0;
        let is_overdue = is_first && self.num_withheld >= WITHHELD_MAX;
        let limit_us = if is_overdue {
            self.target_us.max(2.0 * self.forecast.time_us(decodes))
        } else {
            self.target_us
        };
        let num_fitting = largest(len, |len| time_us(len) <= limit_us);
        let least = len.min(CHUNK_MIN);
        if num_fitting >= least {
            return num_fitting;
        }
        let is_saved = is_first && time_us(least) - self.target_us <= self.saved_us;
        if is_overdue || is_saved { least } else { 0 }
    }

    /// The step is planned.
    pub(crate) fn note(&mut self, pace: Pace) {
        let is_withheld = pace.is_withheld && pace.num_chunks == 0;
        if let (true, Some(decodes)) = (is_withheld, pace.decodes) {
            self.num_withheld += 1;
            self.saved_us += (self.target_us - self.forecast.time_us(decodes)).max(0.0);
            return;
        }
        self.num_withheld = 0;
        let taken_us = self.forecast.time_us(pace.work) - self.target_us;
        let is_mixed = pace.num_chunks > 0;
        self.saved_us = if is_mixed { (self.saved_us - taken_us.max(0.0)).max(0.0) } else { 0.0 };
    }
}

impl Pace {
    /// The step has a row more.
    pub(crate) fn add(&mut self, row: Work) {
        self.work = self.work.plus(row);
        self.num_chunks += u32::from(self.decodes.is_some());
    }

    /// Somebody is left out for the sake of running streams.
    pub(crate) fn withhold(&mut self) {
        self.is_withheld = true;
    }
}

/// The largest number up to `most` that fits, if all up to some number do.
fn largest(most: u32, fits: impl Fn(u32) -> bool) -> u32 {
    if fits(most) {
        return most;
    }
    let (mut fitting, mut too_large) = (0, most);
    while too_large - fitting > 1 {
        let middle = fitting + (too_large - fitting) / 2;
        if fits(middle) { fitting = middle } else { too_large = middle }
    }
    fitting
}
