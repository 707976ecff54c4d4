//! Steps in flight: planned, and not completed.
//!
//! What a step in flight names may not be touched: its blocks, its seats. The record of a step
//! keeps its sequences until it retires. Steps retire in the order of planning; anything else is a
//! bug of whoever runs them, and asserts.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use engine_contract::StepId;

use crate::Tick;
use crate::arena::Key;
use crate::sequence::Sequence;
use crate::work::Work;

/// All steps in flight, oldest first.
pub(crate) struct InFlight {
    steps: VecDeque<Flight>,
    next_step: StepId,
    /// Since when the oldest has been the oldest: before that it could not begin.
    oldest_since: Tick,
    /// Row lists of retired steps, kept for their memory.
    spare: Vec<Vec<FlightRow>>,
}

/// A step in flight.
pub(crate) struct Flight {
    pub(crate) step: StepId,
    pub(crate) rows: Vec<FlightRow>,
    pub(crate) work: Work,
}

/// What to do about a row when its step retires.
#[derive(Clone, Copy)]
pub(crate) struct FlightRow {
    pub(crate) key: Key<Sequence>,
    /// Positions of the sequence that are computed then.
    pub(crate) end: u32,
    /// Whether the output has a token for it.
    pub(crate) samples: bool,
}

impl InFlight {
    pub(crate) const fn new() -> Self {
        Self {
            steps: VecDeque::new(),
            next_step: StepId(0),
            oldest_since: Tick(0),
            spare: Vec::new(),
        }
    }

    /// An empty list for the rows of the next step.
    pub(crate) fn blank_rows(&mut self) -> Vec<FlightRow> {
        self.spare.pop().unwrap_or_default()
    }

    /// A step takes off.
    pub(crate) fn launch(&mut self, rows: Vec<FlightRow>, work: Work, now: Tick) -> StepId {
        let step = self.next_step;
        self.next_step = StepId(step.0 + 1);
        if self.steps.is_empty() {
            self.oldest_since = now;
        }
        self.steps.push_back(Flight { step, rows, work });
        step
    }

    /// What the oldest step computes.
    pub(crate) fn oldest_work(&self) -> Option<Work> {
        self.steps.front().map(|flight| flight.work)
    }

    /// The oldest step lands.
    pub(crate) fn land(&mut self, step: StepId, now: Tick) -> Flight {
        let flight = self.steps.pop_front().expect("a completed step is in flight");
        assert_eq!(flight.step, step, "steps complete in the order of planning");
        self.oldest_since = now;
        flight
    }

    /// Keeps the memory of a landed step, or of one that was never launched.
    pub(crate) fn recycle(&mut self, mut rows: Vec<FlightRow>) {
        rows.clear();
        self.spare.push(rows);
    }

    /// None of the steps will ever land. The numbering goes on.
    pub(crate) fn forget(&mut self) {
        self.steps.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Since when the oldest step has been running; `None` with nothing in flight.
    pub(crate) fn oldest_since(&self) -> Option<Tick> {
        (!self.steps.is_empty()).then_some(self.oldest_since)
    }

    /// Steps planned so far.
    pub(crate) const fn num_planned(&self) -> u64 {
        self.next_step.0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Flight> {
        self.steps.iter()
    }
}
