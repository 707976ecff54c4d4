//! What the world knows of one request that was taken.

use engine_contract::{BlockId, TokenId};
use runtime_core::{Deadline, End, Limits, Request, TenantId, Tick};

/// Most steps in a row that leave prompts out for the sake of running streams.
pub(crate) const WITHHELD_MAX: u32 = 8;

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
    /// Prompt tokens paid for.
    pub(crate) num_prefilled: u32,
    /// Prompt tokens paid for, or found for nothing.
    pub(crate) num_charged: u32,
    /// When it arrived, put back for its priority.
    pub(crate) rank: u64,
    /// Its number in the order of admission, when it was last admitted.
    pub(crate) admission: u64,
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
    pub(crate) fn new(request: &Request, output_max: u32, rank: u64) -> Self {
        Self {
            output_max,
            rank,
            admission: 0,
            num_charged: 0,
            num_prefilled: 0,
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

    pub(crate) const fn tenant(&self) -> TenantId {
        self.request.terms.tenant
    }

    /// Its place among its tenant's: the smaller, the further in front.
    pub(crate) const fn order(&self) -> (u64, u64) {
        (self.rank, self.request.id.0)
    }

    /// The deadline that passes next, while it is open.
    pub(crate) fn next_deadline(&self) -> Option<(Tick, Deadline)> {
        let terms = &self.request.terms;
        let queue = terms.queue_deadline.filter(|_| self.num_cached.is_none());
        let queue = queue.map(|time| (time, Deadline::Queue));
        let whole = terms.deadline.map(|time| (time, Deadline::Whole));
        queue.into_iter().chain(whole).min().filter(|_| self.end.is_none())
    }

    /// Prompt tokens of a row that ends at `end` and are new to its tenant's account.
    pub(crate) fn charge_to(&mut self, end: u32) -> u32 {
        let num_new = end.min(self.request.prompt.len() as u32).saturating_sub(self.num_charged);
        self.num_charged += num_new;
        num_new
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
    pub(crate) fn cost(&self, limits: &Limits) -> u64 {
        let num_rows = self.request.prompt.len() as u32 + self.output_max + 2;
        let num_withheld = if limits.itl_target_us > 0 { WITHHELD_MAX } else { 0 };
        u64::from(num_rows) * u64::from(limits.pipeline_depth + 2) * u64::from(1 + num_withheld)
    }
}
