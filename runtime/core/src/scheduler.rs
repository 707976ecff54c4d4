//! The scheduler's verbs.

use alloc::vec::Vec;

use engine_contract::{EngineError, Outcome, Sampled, SeatId, StepOutput, StepPlan};

use crate::arena::{Arena, Key};
use crate::budget::Draft;
use crate::deadlines::Deadlines;
use crate::flight::{FlightRow, InFlight};
use crate::kv::{KvCache, Owner};
use crate::latency::Latency;
use crate::ledger::Ledger;
use crate::prices::Prices;
use crate::queue::{Running, Turn};
use crate::roster::{Member, Roster};
use crate::sequence::{Claimant, Place, Sequence, Taken, known_tokens};
use crate::{
    CancelCause, End, Finish, Limits, Priority, Rejected, Request, RequestId, Tenants, Tick,
    Updates,
};

/// What one replica runs next, and what it owes whom.
///
/// The caller keeps the clock and the engine. After anything happened it calls [`Self::plan`] until
/// that says `None`, launches what it got in that order, and then hands out [`Self::poll_updates`].
/// Only [`Self::submit`] can refuse; everything else a caller could do wrong asserts.
pub struct Scheduler {
    pub(crate) limits: Limits,
    pub(crate) sequences: Arena<Sequence>,
    pub(crate) running: Running,
    pub(crate) roster: Roster,
    pub(crate) deadlines: Deadlines,
    pub(crate) kv: KvCache,
    /// Seats that no sequence has and no step in flight names.
    pub(crate) seats: Vec<SeatId>,
    pub(crate) in_flight: InFlight,
    pub(crate) ledger: Ledger,
    pub(crate) latency: Latency,
    pub(crate) prices: Prices,
    /// When to cancel what is open; set once no new requests are taken.
    pub(crate) drain_deadline: Option<Tick>,
    /// The latest moment heard of.
    pub(crate) now: Tick,
    num_arrivals: u64,
    pub(crate) preemptions_total: u64,
    pub(crate) prefix_queried_total: u64,
    pub(crate) prefix_hit_total: u64,
}

impl Scheduler {
    /// An empty scheduler of one tenant, the default one, to whom everything belongs.
    ///
    /// # Panics
    /// If one of the sizes or costs in `limits` is zero.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let sizes = [limits.block_size, limits.num_blocks, limits.context, limits.rows_max];
        let bounds = [limits.step_tokens_max, limits.pipeline_depth, limits.waiting_max];
        assert!(!sizes.contains(&0) && !bounds.contains(&0), "no limit is zero: {limits:?}");
        let costs = [limits.costs.prefill, limits.costs.output];
        assert!(!costs.contains(&0), "no cost is zero: {limits:?}");
        Self {
            sequences: Arena::new(),
            running: Running::new(),
            roster: Roster::new(&Tenants::default(), limits.num_blocks),
            deadlines: Deadlines::new(),
            kv: KvCache::new(&limits),
            seats: all_seats(&limits),
            in_flight: InFlight::new(),
            ledger: Ledger::new(),
            latency: Latency::new(limits.itl_target_us),
            prices: Prices::new(&limits),
            drain_deadline: None,
            now: Tick(0),
            num_arrivals: 0,
            preemptions_total: 0,
            prefix_queried_total: 0,
            prefix_hit_total: 0,
            limits,
        }
    }

    /// Takes another table of tenants; nothing that is open is lost. Bounds that are tighter now
    /// hold for what comes: nobody is cancelled or preempted for them. Requests of a tenant that is
    /// not in the table any more go on under the bounds that it had, and new ones are refused.
    pub fn set_tenants(&mut self, tenants: &Tenants) {
        self.roster.replace(tenants, self.limits.num_blocks);
        self.forget_tenants();
        self.check_in_debug();
    }

    /// Opens an account for a request, which will end exactly once.
    ///
    /// # Errors
    /// A typed refusal; nothing is owed then.
    ///
    /// # Panics
    /// If a request of this id is open, or `max_tokens` is zero.
    pub fn submit(&mut self, request: Request, now: Tick) -> Result<(), Rejected> {
        assert!(request.max_tokens > 0, "{:?} asks for no token", request.id);
        self.hear_time(now);
        self.ledger.sums.submitted += 1;
        let verdict = match self.drain_deadline {
            Some(_) => Err(Rejected::Draining),
            None => self.judge(&request),
        };
        match verdict {
            Ok((tenant, output_max)) => self.open(request, tenant, output_max),
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

    /// The next step; `None` when the pipeline is full or there is nothing to do. Nobody is in it
    /// whose deadline has passed.
    pub fn plan(&mut self, now: Tick) -> Option<StepPlan> {
        self.hear_time(now);
        self.expire();
        let depth = self.limits.pipeline_depth as usize;
        let works = self.in_flight.iter().map(|flight| flight.work);
        if self.in_flight.len() >= depth || !self.latency.plans_ahead(works) {
            return None;
        }
        let flight_rows = self.in_flight.blank_rows();
        let mut draft = Draft::new(self.limits.step_tokens_max, flight_rows, &self.running);
        self.plan_decodes(&mut draft);
        self.latency.protect(&mut draft, self.roster.has_several());
        self.plan_prefills(&mut draft);
        self.roster.note_gap();
        self.latency.note(draft.pace);
        let Draft { rows, flight_rows, budget, pace, .. } = draft;
        let plan = if rows.is_empty() {
            self.in_flight.recycle(flight_rows);
            None
        } else {
            let step = self.in_flight.launch(flight_rows, pace.work, now);
            Some(StepPlan { step, rows, stop: budget.reason() })
        };
        self.check_in_debug();
        plan
    }

    /// The oldest step in flight took so long, by the caller's clock: from its begin to its end,
    /// not counting what it waited for others. To be said before its result is taken in. Forecasts
    /// and measured costs live on this; a step that nobody measured says nothing.
    pub fn measure(&mut self, took_us: u64) {
        if let Some(work) = self.in_flight.oldest_work() {
            self.latency.forecast.learn(work, took_us);
            self.prices.follow(work, took_us);
        }
    }

    /// Takes in the result of the oldest step in flight.
    ///
    /// # Panics
    /// If it is the result of any other step, or does not answer the step's rows one by one. A
    /// result that arrives after [`Self::fail`] is of no step in flight: the caller drops it.
    pub fn complete(&mut self, output: &StepOutput, now: Tick) {
        self.hear_time(now);
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
    pub fn fail(&mut self, _error: &EngineError, now: Tick) {
        self.hear_time(now);
        self.ledger.close_all(End::EngineFailed);
        self.in_flight.forget();
        self.running.clear();
        self.roster.forget_sequences();
        self.deadlines.clear();
        self.sequences.clear();
        self.kv = KvCache::new(&self.limits);
        self.seats = all_seats(&self.limits);
        self.forget_tenants();
        self.check_in_debug();
    }

    /// Takes nothing new; what is open at the deadline is cancelled by [`Self::tick`]. Of several
    /// deadlines the earliest counts.
    pub fn drain(&mut self, deadline: Tick) {
        let earlier = self.drain_deadline.map_or(deadline, |earlier| earlier.min(deadline));
        self.drain_deadline = Some(earlier);
    }

    /// Does what is due at `now`: the drain deadline, and requests' own; a step in flight for too
    /// long is answered with an error that the caller hands to [`Self::fail`] and to the engine's
    /// owner.
    pub fn tick(&mut self, now: Tick) -> Option<EngineError> {
        self.hear_time(now);
        self.expire();
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
        drain.into_iter().chain(self.step_deadline()).chain(self.deadlines.next()).min()
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

    fn open(&mut self, request: Request, tenant: Key<Member>, output_max: u32) {
        let key = self.sequences.next_key();
        let account = self.ledger.open(request.id, key);
        let arrival = self.num_arrivals;
        self.num_arrivals += 1;
        let rank = self.rank(request.terms.priority.min(self.roster[tenant].tenant.priority_max));
        self.deadlines.enter(&request.terms, arrival, key);
        let claimant = Claimant { tenant, rank, arrival };
        self.sequences.insert(Sequence::new(request, account, claimant, output_max));
        self.roster[tenant].num_sequences += 1;
        self.roster.arrive(Turn::new(key, &self.sequences[key]));
    }

    /// The place among its tenant's of a request that arrives now: the moment, the later the less
    /// urgent it is. Time alone moves those who wait past those who come later and are more urgent.
    fn rank(&self, priority: Priority) -> u64 {
        let num_below = u64::from(u8::MAX - priority.0);
        self.now.0.saturating_add(self.limits.ageing_us.saturating_mul(num_below))
    }

    /// Ends whose deadline has passed.
    fn expire(&mut self) {
        while let Some((key, deadline)) = self.deadlines.passed(self.now) {
            self.close(key, End::DeadlinePassed(deadline));
            self.settle(key);
        }
    }

    /// Time does not go back, whatever the caller's clock does.
    fn hear_time(&mut self, now: Tick) {
        self.now = self.now.max(now);
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
        let (account, tenant) = (sequence.account, sequence.tenant);
        if let (true, Some(num_cached)) = (sequence.output.is_empty(), sequence.num_cached) {
            self.ledger.say_cached(account, num_cached);
        }
        let taken = sequence.take(token);
        if taken != Taken::Dropped {
            self.ledger.deliver(account, token, sampled.logprobs.clone());
            self.roster[tenant].sums.output += 1;
        }
        match taken {
            Taken::Dropped => self.close(key, End::Finished(Finish::StopToken(token))),
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
            Place::Preempted | Place::Waiting => {
                self.roster.depart(sequence.tenant, sequence.order(), self.now);
            }
            Place::Running => {
                self.roster[sequence.tenant].num_running -= 1;
                self.running.leave(sequence.admission);
            }
        }
        sequence.place = Place::Closed;
        self.deadlines.leave(&sequence.request.terms, sequence.arrival);
    }

    /// Lets go of what a sequence holds if it wants no more rows and no step in flight names it.
    pub(crate) fn settle(&mut self, key: Key<Sequence>) {
        let sequence = &mut self.sequences[key];
        let is_leaving = matches!(sequence.place, Place::Closed | Place::Preempted);
        if sequence.num_in_flight > 0 || !is_leaving {
            return;
        }
        self.kv.release(&sequence.table);
        if let Some(seat) = sequence.seat.take() {
            self.seats.push(seat);
            self.roster[sequence.tenant].num_seats -= 1;
        }
        sequence.table = sequence.blank_table();
        if sequence.place == Place::Closed {
            let tenant = self.sequences.remove(key).tenant;
            self.roster[tenant].num_sequences -= 1;
        } else {
            sequence.rewind();
            sequence.place = Place::Waiting;
        }
        self.forget_tenants();
    }

    fn forget_tenants(&mut self) {
        let pool = &self.kv.pool;
        self.roster.forget_gone(|key| pool.num_owned(Owner(key.number())));
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
