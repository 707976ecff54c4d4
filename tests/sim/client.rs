//! What the world knows of one request that was taken.

use engine_contract::{BlockId, TokenId};
use runtime_core::{End, Limits, Request};

use crate::script::output_max;

/// A request that was taken.
pub(crate) struct Client {
    pub(crate) request: Request,
    pub(crate) output_max: u32,
    /// Tokens that it is owed, or has.
    pub(crate) output: Vec<TokenId>,
    pub(crate) num_heard: usize,
    pub(crate) end: Option<End>,
    pub(crate) heard_end: bool,
    pub(crate) heard_cached: bool,
    /// Whether an outcome has come for it.
    pub(crate) has_sampled: bool,
    pub(crate) standing: Standing,
    pub(crate) table: Vec<BlockId>,
    pub(crate) num_text: u32,
    pub(crate) num_planned: u32,
    pub(crate) num_sampling: u32,
    pub(crate) num_in_flight: u32,
    /// Cached positions that its first row started at.
    pub(crate) num_cached: Option<u32>,
    /// The step by which it has ended, if nobody starves.
    pub(crate) ends_by: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Holds nothing.
    Away,
    /// Holds a seat, and goes back to the queue.
    Preempted,
    /// Holds a seat.
    Seated,
}

impl Client {
    pub(crate) fn new(request: &Request, limits: &Limits) -> Self {
        Self {
            output_max: output_max(request, limits),
            output: Vec::new(),
            num_heard: 0,
            end: None,
            heard_end: false,
            heard_cached: false,
            has_sampled: false,
            standing: Standing::Away,
            table: Vec::new(),
            num_text: 0,
            num_planned: 0,
            num_sampling: 0,
            num_in_flight: 0,
            num_cached: None,
            ends_by: 0,
            request: request.clone(),
        }
    }

    pub(crate) fn num_known(&self) -> u32 {
        (self.request.prompt.len() + self.output.len()) as u32
    }

    pub(crate) fn horizon(&self) -> u32 {
        self.num_known() + self.num_sampling
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.end.is_none() && self.standing != Standing::Seated
    }

    pub(crate) fn is_running(&self) -> bool {
        self.end.is_none() && self.standing == Standing::Seated
    }

    /// Whether it wants rows.
    pub(crate) fn is_plannable(&self) -> bool {
        self.is_running() && self.output.len() as u32 + self.num_sampling < self.output_max
    }

    /// The most steps that it takes when nobody is older.
    pub(crate) fn cost(&self, depth: u32) -> u64 {
        u64::from(self.request.prompt.len() as u32 + self.output_max + 2) * u64::from(depth + 2)
    }
}
