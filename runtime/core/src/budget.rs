//! What a step may still spend while it is being planned, and why it stops growing.

use alloc::vec::Vec;

use engine_contract::{Row, Stop};

use crate::arena::Key;
use crate::flight::FlightRow;
use crate::latency::Pace;
use crate::queue::Running;
use crate::sequence::Sequence;

/// A step that is still growing.
pub(crate) struct Draft {
    pub(crate) rows: Vec<Row>,
    /// What to remember of each row until the step ends.
    pub(crate) flight_rows: Vec<FlightRow>,
    /// Running sequences with text still to plan, in the order of admission, and then those that
    /// this step admits.
    pub(crate) prefilling: Vec<Key<Sequence>>,
    /// Blocks that running sequences will need; `None` until somebody asks.
    pub(crate) num_promised: Option<u32>,
    /// The number of the first sequence that this step admits.
    pub(crate) first_admission: u64,
    pub(crate) budget: Budget,
    pub(crate) pace: Pace,
}

/// Positions left to compute in this step, and the first reason to leave something out.
pub(crate) struct Budget {
    num_tokens: u32,
    stop: Option<Stop>,
    /// Whether somebody was left out for a bound of its tenant.
    is_held_back: bool,
}

impl Draft {
    pub(crate) fn new(
        step_tokens_max: u32,
        flight_rows: Vec<FlightRow>,
        running: &Running,
    ) -> Self {
        Self {
            rows: Vec::with_capacity(running.len() as usize),
            first_admission: running.num_admissions(),
            flight_rows,
            prefilling: Vec::new(),
            num_promised: None,
            budget: Budget { num_tokens: step_tokens_max, stop: None, is_held_back: false },
            pace: Pace::default(),
        }
    }

    /// The step takes no more: running streams would wait too long for it.
    pub(crate) fn withhold(&mut self) {
        self.pace.withhold();
        self.budget.close();
    }
}

impl Budget {
    pub(crate) fn spend(&mut self, num_tokens: u32) {
        self.num_tokens -= num_tokens;
    }

    /// Something is left out. The first reason is the one that counts: later ones follow from it.
    pub(crate) fn stop(&mut self, stop: Stop) {
        self.stop.get_or_insert(stop);
    }

    /// The step has no time for more: nobody has another turn.
    pub(crate) fn close(&mut self) {
        self.stop(Stop::Latency);
        self.num_tokens = 0;
    }

    /// Somebody is left out for a bound of its tenant; others may go on.
    pub(crate) fn hold_back(&mut self) {
        self.is_held_back = true;
    }

    /// Positions left.
    pub(crate) const fn num_tokens(&self) -> u32 {
        self.num_tokens
    }

    pub(crate) const fn is_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Why the step stopped growing. If nothing was left out, it may still be full.
    pub(crate) fn reason(&self) -> Stop {
        self.stop.unwrap_or(match self.num_tokens {
            0 => Stop::Tokens,
            _ if self.is_held_back => Stop::Tenant,
            _ => Stop::Empty,
        })
    }
}
