//! The scheduler's verbs.

use alloc::vec::Vec;

use engine_contract::{EngineError, Outcome, Sampled, SeatId, StepOutput, StepPlan};

use crate::admission::judge;
use crate::arena::{Arena, Key};
use crate::budget::Draft;
use crate::flight::{FlightRow, InFlight};
use crate::kv::{KvCache, Table};
use crate::ledger::Ledger;
use crate::queue::{Queue, Turn};
use crate::sequence::{Place, Sequence, Taken, known_tokens};
use crate::{CancelCause, End, Finish, Limits, Rejected, Request, RequestId, Tick, Updates};

/// What one replica runs next, and what it owes whom.
///
/// The caller keeps the clock and the engine. After anything happened it calls [`Self::plan`] until
/// that says `None`, launches what it got in that order, and then hands out [`Self::poll_updates`].
/// Only [`Self::submit`] can refuse; everything else a caller could do wrong asserts.
pub struct Scheduler {
    pub(crate) limits: Limits,
    pub(crate) sequences: Arena<Sequence>,
    pub(crate) queue: Queue,
    pub(crate) kv: KvCache,
    /// Seats that no sequence has and no step in flight names.
    pub(crate) seats: Vec<SeatId>,
    pub(crate) in_flight: InFlight,
    pub(crate) ledger: Ledger,
    /// When to cancel what is open; set once no new requests are taken.
    drain_deadline: Option<Tick>,
    num_arrivals: u64,
    pub(crate) preemptions_total: u64,
    pub(crate) prefix_queried_total: u64,
    pub(crate) prefix_hit_total: u64,
}

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
    /// Requests offered, refused ones included.
    pub submitted_total: u64,
    /// Requests refused.
    pub rejected_total: u64,
    /// Requests that ran to their own end.
    pub finished_total: u64,
    /// Requests cancelled from outside.
    pub cancelled_total: u64,
    /// Requests that failed, with the engine or by themselves.
    pub failed_total: u64,
    /// Tokens generated for requests.
    pub tokens_total: u64,
    /// Steps planned.
    pub steps_total: u64,
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
    ///
    /// # Panics
    /// If one of the sizes in `limits` is zero.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let sizes = [limits.block_size, limits.num_blocks, limits.context, limits.rows_max];
        let bounds = [limits.step_tokens_max, limits.pipeline_depth, limits.waiting_max];
        assert!(!sizes.contains(&0) && !bounds.contains(&0), "no limit is zero: {limits:?}");
        Self {
            sequences: Arena::new(),
            queue: Queue::new(),
            kv: KvCache::new(&limits),
            seats: all_seats(&limits),
            in_flight: InFlight::new(),
            ledger: Ledger::new(),
            drain_deadline: None,
            num_arrivals: 0,
            preemptions_total: 0,
            prefix_queried_total: 0,
            prefix_hit_total: 0,
            limits,
        }
    }

    /// Opens an account for a request, which will end exactly once.
    ///
    /// # Errors
    /// A typed refusal; nothing is owed then.
    ///
    /// # Panics
    /// If a request of this id is open, or `max_tokens` is zero.
    pub fn submit(&mut self, request: Request, _now: Tick) -> Result<(), Rejected> {
        assert!(request.max_tokens > 0, "{:?} asks for no token", request.id);
        self.ledger.sums.submitted += 1;
        let verdict = match self.drain_deadline {
            Some(_) => Err(Rejected::Draining),
            None => judge(&self.limits, &self.queue, &request),
        };
        match verdict {
            Ok(output_max) => self.open(request, output_max),
            Err(_) => self.ledger.sums.rejected += 1,
        }
        self.check_in_debug();
        verdict.map(|_| ())
    }

    /// Ends a request from outside; no later plan names it. An id already ended is ignored.
    pub fn cancel(&mut self, id: RequestId, cause: CancelCause) {
        if let Some(key) = self.ledger.find(id) {
            self.close(key, End::Cancelled(cause));
            self.settle(key);
        }
        self.check_in_debug();
    }

    /// The next step; `None` when the pipeline is full or there is nothing to do.
    pub fn plan(&mut self, now: Tick) -> Option<StepPlan> {
        if self.in_flight.len() >= self.limits.pipeline_depth as usize {
            return None;
        }
        let flight_rows = self.in_flight.blank_rows();
        let num_rows = self.queue.num_running() as usize;
        let mut draft = Draft::new(self.limits.step_tokens_max, flight_rows, num_rows);
        self.plan_decodes(&mut draft);
        self.plan_chunks(&mut draft);
        self.admit(&mut draft);
        let Draft { rows, flight_rows, budget, .. } = draft;
        let plan = if rows.is_empty() {
            self.in_flight.recycle(flight_rows);
            None
        } else {
            let step = self.in_flight.launch(flight_rows, now);
            Some(StepPlan { step, rows, stop: budget.reason() })
        };
        self.check_in_debug();
        plan
    }

    /// Takes in the result of the oldest step in flight.
    ///
    /// # Panics
    /// If it is the result of any other step, or does not answer the step's rows one by one. A
    /// result that arrives after [`Self::fail`] is of no step in flight: the caller drops it.
    pub fn complete(&mut self, output: &StepOutput, now: Tick) {
        let flight = self.in_flight.land(output.step, now);
        let mut sampled = output.sampled.iter();
        for &row in &flight.rows {
            let sampled = row.samples.then(|| {
                let sampled = sampled.next().expect("a sampling row has an outcome");
                let id = self.sequences[row.key].id();
                assert_eq!(sampled.sequence, id, "outcomes come in the order of the rows");
                sampled
            });
            self.retire_row(row, sampled);
        }
        assert!(sampled.next().is_none(), "{} has an outcome without a row", output.step);
        self.in_flight.recycle(flight.rows);
        self.check_in_debug();
    }

    /// The engine is gone: every step in flight is lost, every open request ends as failed, the
    /// pool is empty again. Serves on afterwards, for an engine built anew.
    pub fn fail(&mut self, _error: &EngineError, _now: Tick) {
        self.ledger.close_all(End::EngineFailed);
        self.in_flight.forget();
        self.queue.clear();
        self.sequences.clear();
        self.kv = KvCache::new(&self.limits);
        self.seats = all_seats(&self.limits);
        self.check_in_debug();
    }

    /// Takes nothing new; what is open at the deadline is cancelled by [`Self::tick`]. Of several
    /// deadlines the earliest counts.
    pub fn drain(&mut self, deadline: Tick) {
        let earlier = self.drain_deadline.map_or(deadline, |earlier| earlier.min(deadline));
        self.drain_deadline = Some(earlier);
    }

    /// Does what is due at `now`: the drain deadline; a step in flight for too long is answered
    /// with an error that the caller hands to [`Self::fail`] and to the engine's owner.
    pub fn tick(&mut self, now: Tick) -> Option<EngineError> {
        if self.drain_deadline.is_some_and(|deadline| deadline <= now) {
            let open: Vec<_> = self.ledger.open_sequences().collect();
            for key in open {
                self.close(key, End::Cancelled(CancelCause::Drain));
                self.settle(key);
            }
        }
        self.check_in_debug();
        self.step_deadline()
            .is_some_and(|deadline| deadline <= now)
            .then_some(EngineError::TimedOut)
    }

    /// When to call [`Self::tick`] although nothing arrived.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        let drain = self.drain_deadline.filter(|_| self.ledger.num_open() > 0);
        drain.into_iter().chain(self.step_deadline()).min()
    }

    /// Moves out everything that happened since the last call, at most one update a request.
    pub fn poll_updates(&mut self, out: &mut Updates) {
        self.ledger.fetch(out);
    }

    /// Whether no request is open and no step in flight.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.ledger.num_open() == 0 && self.in_flight.len() == 0
    }

    /// Counts for metrics.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let (pool, sums) = (&self.kv.pool, &self.ledger.sums);
        Snapshot {
            waiting: self.queue.num_waiting(),
            running: self.ledger.num_open() - self.queue.num_waiting(),
            in_flight: self.in_flight.len() as u32,
            blocks_total: pool.num_blocks(),
            blocks_used: pool.num_used(),
            blocks_cached: pool.num_cached(),
            waiting_tokens: self.queue.num_waiting_tokens(),
            submitted_total: sums.submitted,
            rejected_total: sums.rejected,
            finished_total: sums.finished,
            cancelled_total: sums.cancelled,
            failed_total: sums.failed,
            tokens_total: sums.tokens,
            steps_total: self.in_flight.num_planned(),
            preemptions_total: self.preemptions_total,
            prefix_queried_total: self.prefix_queried_total,
            prefix_hit_total: self.prefix_hit_total,
            draining: self.drain_deadline.is_some(),
        }
    }

    fn open(&mut self, request: Request, output_max: u32) {
        let account = self.ledger.open(request.id, self.sequences.next_key());
        let sequence = Sequence::new(request, account, self.num_arrivals, output_max);
        self.num_arrivals += 1;
        let key = self.sequences.insert(sequence);
        self.queue.arrive(Turn::new(key, &self.sequences[key]));
    }

    /// A row's step has retired: its positions are computed, and its token, if any, is known. For a
    /// sequence that ended meanwhile it was one row too many; but if that went wrong, what the
    /// sequence left in the index is suspect all the same.
    fn retire_row(&mut self, row: FlightRow, sampled: Option<&Sampled>) {
        let outcome = sampled.map(|sampled| sampled.outcome);
        let sequence = &mut self.sequences[row.key];
        sequence.num_in_flight -= 1;
        if outcome == Some(Outcome::NotFinite) {
            self.kv.withdraw(&mut sequence.table);
        }
        if sequence.place != Place::Closed {
            sequence.num_computed = row.end;
            sequence.num_sampling -= u32::from(row.samples);
            self.publish(row.key);
            if let Some(sampled) = sampled {
                self.hear(row.key, sampled);
            }
        }
        self.settle(row.key);
    }

    /// Full blocks of computed positions enter the prefix index.
    fn publish(&mut self, key: Key<Sequence>) {
        let Sequence { request, output, num_computed, table, .. } = &mut self.sequences[key];
        let tokens = |positions| known_tokens(&request.prompt, output, positions);
        self.kv.publish(table, *num_computed, tokens);
    }

    fn hear(&mut self, key: Key<Sequence>, sampled: &Sampled) {
        let Outcome::Token(token) = sampled.outcome else { return self.close(key, End::NotFinite) };
        let sequence = &mut self.sequences[key];
        let account = sequence.account;
        if let (true, Some(num_cached)) = (sequence.output.is_empty(), sequence.num_cached) {
            self.ledger.say_cached(account, num_cached);
        }
        let taken = sequence.take(token);
        if taken != Taken::Dropped {
            self.ledger.deliver(account, token, sampled.logprobs.clone());
        }
        match taken {
            Taken::Dropped => self.close(key, End::Finished(Finish::StopToken)),
            Taken::Kept => {}
            Taken::Last => self.close(key, End::Finished(Finish::Length)),
        }
    }

    /// The one way for a request to end, but for the engine's failure. No later plan names it.
    fn close(&mut self, key: Key<Sequence>, end: End) {
        let sequence = &mut self.sequences[key];
        self.ledger.close(sequence.account, end);
        match sequence.place {
            Place::Closed | Place::Ending => {}
            Place::Preempted | Place::Waiting => self.queue.leave_waiting(sequence.arrival),
            Place::Running => self.queue.leave_running(sequence.arrival),
        }
        sequence.place = Place::Closed;
    }

    /// Lets go of what a sequence holds if it wants no more rows and no step in flight names it.
    pub(crate) fn settle(&mut self, key: Key<Sequence>) {
        let sequence = &mut self.sequences[key];
        let is_leaving = matches!(sequence.place, Place::Closed | Place::Preempted);
        if sequence.num_in_flight > 0 || !is_leaving {
            return;
        }
        self.kv.release(&sequence.table);
        self.seats.extend(sequence.seat.take());
        sequence.table = Table::new(sequence.request.salt);
        if sequence.place == Place::Closed {
            self.sequences.remove(key);
        } else {
            sequence.rewind();
            sequence.place = Place::Waiting;
        }
    }

    fn step_deadline(&self) -> Option<Tick> {
        let since = self.in_flight.oldest_since()?;
        Some(Tick(since.0.saturating_add(self.limits.step_timeout_us)))
    }

    fn check_in_debug(&self) {
        if cfg!(debug_assertions) {
            self.check();
        }
    }
}

/// Every seat, the lowest on top.
fn all_seats(limits: &Limits) -> Vec<SeatId> {
    (0..limits.rows_max).rev().map(SeatId).collect()
}
