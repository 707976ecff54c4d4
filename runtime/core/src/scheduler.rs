//! The scheduler's verbs.

use engine_contract::{EngineError, StepOutput, StepPlan};

use crate::{CancelCause, Limits, Rejected, Request, RequestId, Tick, Updates};

/// What one replica runs next, and what it owes whom.
pub struct Scheduler {}

/// Counts for metrics, taken at one moment. Totals count from the scheduler's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests waiting for a seat, preempted ones included.
    pub waiting: u32,
    /// Requests with a seat.
    pub running: u32,
    /// Steps planned and not completed.
    pub in_flight: u32,
    /// Blocks in the pool.
    pub blocks_total: u32,
    /// Blocks that sequences hold, or that a step in flight may still touch.
    pub blocks_used: u32,
    /// Blocks that nobody holds but the prefix index; free for the taking.
    pub blocks_cached: u32,
    /// Prompt tokens waiting.
    pub waiting_tokens: u64,
    /// Sequences preempted.
    pub preemptions_total: u64,
    /// Prompt tokens looked up in the prefix index.
    pub prefix_queried_total: u64,
    /// Prompt tokens found there.
    pub prefix_hit_total: u64,
    /// Whether new requests are refused.
    pub draining: bool,
}

impl Scheduler {
    /// An empty scheduler.
    #[must_use]
    pub fn new(_limits: Limits) -> Self {
        todo!()
    }

    /// Opens an account for a request, which will end exactly once.
    ///
    /// # Errors
    /// A typed refusal; nothing is owed then.
    pub fn submit(&mut self, _request: Request, _now: Tick) -> Result<(), Rejected> {
        todo!()
    }

    /// Ends a request from outside; no later plan names it. An id already ended is ignored.
    pub fn cancel(&mut self, _id: RequestId, _cause: CancelCause) {
        todo!()
    }

    /// The next step; `None` when the pipeline is full or there is nothing to do.
    pub fn plan(&mut self, _now: Tick) -> Option<StepPlan> {
        todo!()
    }

    /// Takes in the result of the oldest step in flight.
    pub fn complete(&mut self, _output: &StepOutput, _now: Tick) {
        todo!()
    }

    /// The engine is gone: every step in flight is lost, every open request ends as failed, the pool
    /// is empty again. Serves on afterwards, for an engine built anew.
    pub fn fail(&mut self, _error: &EngineError, _now: Tick) {
        todo!()
    }

    /// Takes nothing new; what is open at the deadline is cancelled by [`Self::tick`].
    pub fn drain(&mut self, _deadline: Tick) {
        todo!()
    }

    /// Does what is due at `now`: the drain deadline; a step in flight for too long is answered with
    /// an error that the caller hands to [`Self::fail`] and to the engine's owner.
    pub fn tick(&mut self, _now: Tick) -> Option<EngineError> {
        todo!()
    }

    /// When to call [`Self::tick`] although nothing arrived.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        todo!()
    }

    /// Moves out everything that happened since the last call, at most one update a request.
    pub fn poll_updates(&mut self, _out: &mut Updates) {
        todo!()
    }

    /// Whether no request is open and no step in flight.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        todo!()
    }

    /// Counts for metrics.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        todo!()
    }
}
