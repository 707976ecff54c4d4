//! A scheduler, a fake engine and scripted clients; one seed decides all.
//!
//! The world is the shell around the scheduler: it plans at every boundary, launches, hands out
//! results late, and polls when it likes. After every event the scheduler checks itself, and the
//! books compare what it did with what it had to do.

use std::fmt::Write;

use engine_contract::{EngineError, Outcome, RowTokens, StepPlan, Stop, TableChange};
use runtime_core::{CancelCause, Counter, Limits, RequestId, Scheduler, Snapshot, Tick, Updates};

use crate::books::Books;
use crate::engine::Engine;
use crate::rng::Rng;
use crate::script::{Temper, draw_limits, draw_request};
use crate::tenants::{Tables, draw_tenants, draw_terms};
use crate::view::View;

pub(crate) struct World {
    rng: Rng,
    limits: Limits,
    temper: Temper,
    scheduler: Scheduler,
    engine: Engine,
    books: Books,
    updates: Updates,
    now: Tick,
    next_id: u64,
    /// The engine hangs: nothing completes until the step times out.
    is_stalled: bool,
    /// Whether somebody was preempted since the last event.
    has_preempted: bool,
    pub(crate) num_protected: u64,
    pub(crate) num_held_back: u64,
    pub(crate) num_contended: u64,
    /// Everything that happened, one event a line.
    pub(crate) trace: String,
    /// Whether to print it as it happens.
    echo: bool,
}

impl World {
    pub(crate) fn new(seed: u64, echo: bool) -> Self {
        let mut rng = Rng::new(seed);
        let limits = draw_limits(&mut rng);
        let temper = Temper::draw(&mut rng);
        let tenants = draw_tenants(&mut rng);
        let mut scheduler = Scheduler::new(limits);
        scheduler.set_tenants(&tenants);
        let mut world = Self {
            rng,
            temper,
            scheduler,
            engine: Engine::new(limits),
            books: Books::new(limits, Tables::new(&tenants)),
            updates: Updates::default(),
            now: Tick(0),
            next_id: 0,
            is_stalled: false,
            has_preempted: false,
            num_protected: 0,
            num_held_back: 0,
            num_contended: 0,
            trace: String::new(),
            echo,
            limits,
        };
        world.note(format_args!("{limits:?}"));
        world.note(format_args!("{tenants:?}"));
        world
    }

    /// Lets everything happen that is to happen, then waits until nothing is left to do.
    pub(crate) fn run(&mut self, events_max: u32) {
        for _ in 0..events_max {
            if self.next_id == u64::from(self.temper.num_requests) && self.scheduler.is_quiet() {
                return self.finish();
            }
            self.event();
        }
        panic!("law 12: not quiet after {events_max} events");
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.scheduler.snapshot()
    }

    pub(crate) fn num_reloads(&self) -> u64 {
        self.books.tables.num_reloads.into()
    }

    fn event(&mut self) {
        self.now.0 += u64::from(self.rng.between(0..=10));
        let temper = &self.temper;
        let has_more = self.next_id < u64::from(temper.num_requests);
        // Those who wait after a preemption are the most likely to leave.
        let cancel = temper.cancel * if self.has_preempted { 5 } else { 1 };
        self.has_preempted = false;
        if has_more && self.rng.chance(temper.arrival) {
            self.submit();
        } else if self.rng.chance(cancel) {
            self.cancel();
        } else if self.rng.chance(temper.fail) {
            self.fail(&EngineError::Device("unplugged".into()));
        } else if self.rng.chance(temper.drain) {
            self.drain();
        } else if self.rng.chance(temper.reload) && !self.books.tables.is_plain() {
            self.reload();
        } else if self.rng.chance(temper.stall) {
            self.is_stalled = true;
        } else if self.rng.chance(500) {
            self.complete();
        } else {
            self.tick();
        }
        self.check();
        if !self.temper.lazy || self.rng.chance(300) {
            self.plan();
        }
        if self.rng.chance(self.temper.poll) {
            self.poll();
        }
    }

    fn submit(&mut self) {
        let terms = draw_terms(&mut self.rng, &self.books.tables, &self.temper, self.now);
        let request = draw_request(&mut self.rng, self.next_id, &self.limits, terms);
        self.next_id += 1;
        let verdict = self.scheduler.submit(request.clone(), self.now);
        self.note(format_args!(
            "submit {} prompt {} {terms:?}: {verdict:?}",
            request.id.0,
            request.prompt.len()
        ));
        self.books.submitted(&request, verdict, self.now);
        if verdict.is_ok() {
            self.engine.expect(&request);
        }
    }

    /// Somebody leaves: waiting, running, leaving, long gone, or never seen. Sometimes a whole
    /// worker goes, and many with it.
    fn cancel(&mut self) {
        if self.rng.chance(200) {
            let open = self.books.open_ids();
            for id in open.into_iter().filter(|_| self.rng.chance(500)).collect::<Vec<_>>() {
                self.cancel_one(id);
            }
        } else {
            let id = RequestId(u64::from(self.rng.between(0..=self.next_id as u32)));
            self.cancel_one(id);
        }
    }

    fn cancel_one(&mut self, id: RequestId) {
        let causes = [CancelCause::Disconnect, CancelCause::Stall, CancelCause::StopString];
        let cause = *self.rng.pick(&causes);
        self.note(format_args!("cancel {} {cause:?}", id.0));
        self.scheduler.cancel(id, cause);
        self.books.cancelled(id, cause);
    }

    fn fail(&mut self, error: &EngineError) {
        self.note(format_args!("fail {error}"));
        self.scheduler.fail(error, self.now);
        self.books.failed();
        let fresh = Engine::new(self.limits);
        self.engine = fresh;
        self.is_stalled = false;
        let snapshot = self.scheduler.snapshot();
        assert_eq!(snapshot.blocks_used + snapshot.blocks_cached, 0, "a new pool is empty");
    }

    fn drain(&mut self) {
        let deadline = Tick(self.now.0 + u64::from(self.rng.between(0..=300)));
        self.note(format_args!("drain by {}", deadline.0));
        self.scheduler.drain(deadline);
        let earlier = self.books.drain_deadline;
        self.books.drain_deadline = Some(earlier.map_or(deadline, |earlier| earlier.min(deadline)));
    }

    /// Another table, in the midst of everything.
    fn reload(&mut self) {
        let tenants = draw_tenants(&mut self.rng);
        self.note(format_args!("reload {tenants:?}"));
        let num_open = self.books.num_open();
        self.scheduler.set_tenants(&tenants);
        self.books.tables.reload(&tenants);
        let snapshot = self.scheduler.snapshot();
        let num_left = (snapshot.waiting + snapshot.running) as usize;
        assert_eq!(num_left, num_open, "a reload loses nobody");
    }

    fn complete(&mut self) {
        if self.is_stalled {
            return;
        }
        let Some(landed) = self.engine.land() else { return };
        let output = &landed.output;
        self.note(format_args!("complete {} {:?}", output.step, output.sampled.len()));
        self.measure(landed.num_tokens);
        self.scheduler.complete(output, self.now);
        for sampled in output.sampled.iter().filter(|one| one.outcome == Outcome::NotFinite) {
            let still_held = self.books.held_without(sampled.sequence);
            self.engine.spoil(&landed, sampled.sequence, &still_held);
        }
        self.books.completed(&output.sampled, self.now);
    }

    /// Most steps are measured, more or less; now and then something else held one up.
    fn measure(&mut self, num_tokens: u32) {
        let (fixed, each) = self.temper.step_us;
        let took = fixed + each * num_tokens + self.rng.between(0..=2);
        let times = *self.rng.pick(&[1, 1, 1, 1, 1, 1, 1, 20]);
        if self.rng.chance(950) {
            self.scheduler.measure(u64::from(took * times));
        }
    }

    /// The timer: early mostly, and when the engine hangs, on time or late.
    fn tick(&mut self) {
        let deadline = self.scheduler.next_deadline();
        assert_eq!(deadline, self.books.next_deadline(), "the next deadline");
        let is_due = self.is_stalled || self.rng.chance(2);
        if let (Some(deadline), true) = (deadline, is_due) {
            self.now = self.now.max(deadline);
        }
        let error = self.scheduler.tick(self.now);
        let has_timed_out = self.books.ticked(self.now);
        self.note(format_args!("tick {error:?}"));
        assert_eq!(error.is_some(), has_timed_out, "the oldest step is watched");
        if let Some(error) = error {
            self.fail(&error);
        }
    }

    fn plan(&mut self) {
        loop {
            // The books expire first, so that they see what is left for the plan.
            self.books.expired(self.now);
            let open = self.books.open_ids();
            let before = View::of(&self.scheduler, &open);
            let plan = self.scheduler.plan(self.now);
            let after = View::of(&self.scheduler, &open);
            self.has_preempted |= after.num_preempted_since(&before) > 0;
            let is_held_back = after.tenants.values().any(|one| one.held_back);
            self.num_held_back += u64::from(is_held_back);
            self.num_contended += u64::from(after.service_gap > Counter(0));
            let Some(plan) = plan else {
                self.books.planned_nothing(&before, &after);
                return self.check();
            };
            self.num_protected += u64::from(plan.stop == Stop::Latency);
            self.note(format_args!("{}", Line(&plan)));
            self.engine.launch(&plan, &mut self.rng, self.temper.not_finite);
            self.books.planned(&plan, &before, &after, self.now);
            self.check();
        }
    }

    fn poll(&mut self) {
        self.scheduler.poll_updates(&mut self.updates);
        for index in 0..self.updates.entries.len() {
            let update = self.updates.entries[index].clone();
            let tokens = &self.updates.tokens[update.tokens.clone()];
            let line = format!("{} hears {tokens:?} {:?}", update.id.0, update.end);
            self.note(format_args!("{line}"));
        }
        self.books.polled(&self.updates);
    }

    fn finish(&mut self) {
        self.poll();
        self.check();
        self.books.check_outputs();
        let snapshot = self.scheduler.snapshot();
        assert_eq!(snapshot.blocks_used, 0, "law 1: every block comes home");
        assert_eq!(self.scheduler.next_deadline(), None, "nothing is due when nothing is open");
        assert!(self.scheduler.plan(self.now).is_none(), "nothing to plan when quiet");
    }

    fn check(&mut self) {
        self.scheduler.check();
        self.books.check(&View::of(&self.scheduler, &[]));
        let is_quiet = self.books.num_open() == 0 && self.engine.launched.is_empty();
        assert_eq!(self.scheduler.is_quiet(), is_quiet, "quiet when nothing is open or in flight");
    }

    fn note(&mut self, event: std::fmt::Arguments<'_>) {
        let start = self.trace.len();
        writeln!(self.trace, "{:>6} {event}", self.now.0).expect("a string grows");
        if self.echo {
            print!("{}", &self.trace[start..]);
        }
    }
}

/// A plan on one line.
struct Line<'a>(&'a StepPlan);

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "plan {}", self.0.step)?;
        for row in &self.0.rows {
            let source = if let RowTokens::Device = row.tokens { "d" } else { "h" };
            let (change, blocks) = match &row.table {
                TableChange::Extend(blocks) => ("+", blocks),
                TableChange::Fresh(blocks) => ("=", blocks),
            };
            let (sequence, start, len) = (row.sequence, row.start, row.tokens.len());
            write!(f, " {sequence}@{}:{start}+{len}{source}{change}{blocks:?}", row.seat)?;
        }
        write!(f, " {:?}", self.0.stop)
    }
}
