//! How much of a step prompts may have, so that running streams get their next token in time.
//!
//! A step with decodes in it is to take no longer than the target, by the [`Forecast`]: chunks are
//! cut to what fits. Where not even a small chunk does, steps of decodes alone save up the time for
//! it, so that the target holds on average. Prompts never wait for ever: after [`WITHHELD_MAX`]
//! such steps one chunk is planned all the same, as long as what decodes alone take, so that
//! prompts get on with a tenth of the time at least.
//!
//! Nor is anybody admitted whose decodes would leave prompts no time within the target, but of a
//! tenant that has less than its part of the seats in use: who floods fills no steps of others. And
//! a step that takes half the target is not planned behind: who comes meanwhile is in the next one.
//! Decodes are never held back here. A step without any is cut for the sake of other tenants'
//! requests to come, though not below [`CHUNK_ALONE`].

use crate::budget::Draft;
use crate::forecast::Forecast;
use crate::sequence::Sequence;
use crate::work::Work;

/// A shorter chunk is not worth its step, unless it takes a good part of it or nothing more is left
/// of a text.
pub(crate) const CHUNK_MIN: u32 = 16;

/// The shortest chunk of a step without decodes.
const CHUNK_ALONE: u32 = 4 * CHUNK_MIN;

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
    pub(crate) decodes: Option<Work>,
    num_chunks: u32,
    is_withheld: bool,
}

impl Latency {
    pub(crate) fn new(target_us: u64) -> Self {
        let target_us = target_us as f64;
        Self { target_us, forecast: Forecast::new(), num_withheld: 0, saved_us: 0.0 }
    }

    /// All decodes are in the step: what follows must not make it too long for them, nor, with
    /// several tenants, for whoever of another one comes meanwhile.
    pub(crate) fn protect(&self, draft: &mut Draft, has_several: bool) {
        let is_bounded = self.target_us > 0.0 && self.forecast.is_known();
        draft.pace.decodes =
            (is_bounded && (has_several || !draft.rows.is_empty())).then_some(draft.pace.work);
    }

    /// How many of the next `len` positions of a sequence the step has time for, if they begin at
    /// `start`.
    pub(crate) fn chunk(&self, draft: &Draft, sequence: &Sequence, start: u32, len: u32) -> u32 {
        let Some(decodes) = draft.pace.decodes else { return len };
        let time_us = |len| {
            let row = Work::row(start, len, start + len == sequence.horizon());
            self.forecast.time_us(draft.pace.work.plus(row))
        };
        let fitting = |limit_us| largest(len, |len| time_us(len) <= limit_us);
        let decodes_us = self.forecast.time_us(decodes);
        let is_useful = |num: u32| {
            let takes_part = time_us(num) - decodes_us >= decodes_us / 4.0;
            num >= len.min(CHUNK_MIN) || (num > 0 && takes_part)
        };
        let num_in_time = fitting(self.target_us);
        if is_useful(num_in_time) {
            return num_in_time;
        }
        if draft.pace.num_chunks > 0 {
            return 0;
        }
        if decodes.positions == 0 {
            return len.min(CHUNK_ALONE);
        }
        // However long is saved for or overdue, streams wait for no more than another step.
        let most_us = self.target_us.max(2.0 * decodes_us);
        if self.num_withheld >= WITHHELD_MAX {
            return fitting(most_us).max(1);
        }
        let num_saved = fitting(most_us.min(self.target_us + self.saved_us)).min(CHUNK_MIN);
        if is_useful(num_saved) { num_saved } else { 0 }
    }

    /// Whether `work` of decodes, one more stream's among them, leaves steps time for a chunk, or
    /// half of the target. One of less than five times what a stream alone takes cannot be meant.
    pub(crate) fn has_room(&self, draft: &Draft, work: Work) -> bool {
        if draft.pace.decodes.is_none_or(|decodes| decodes.positions == 0) {
            return true;
        }
        let chunk = Work { positions: CHUNK_ALONE, ..Work::default() };
        let alone = Work { positions: 1, sampled: 1, ..Work::default() };
        let limit_us = self.target_us.max(5.0 * self.forecast.time_us(alone));
        self.forecast.time_us(work) <= limit_us / 2.0
            || self.forecast.time_us(work.plus(chunk)) <= limit_us
    }

    /// Whether the next step is to be planned behind those in flight. What that hides of planning
    /// is little beside long steps, and whoever comes meanwhile would wait for one step more.
    pub(crate) fn plans_ahead(&self, mut in_flight: impl Iterator<Item = Work>) -> bool {
        let Some(first) = in_flight.next() else { return true };
        let time_us = in_flight.fold(self.forecast.time_us(first), |time_us, work| {
            time_us + self.forecast.time_us(work)
        });
        self.target_us == 0.0 || time_us <= self.target_us / 2.0
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
