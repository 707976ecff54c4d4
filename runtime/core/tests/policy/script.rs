//! Runs a scheduler through a script, and writes down what it does.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use engine_contract::{
    EngineError, Outcome, Row, RowTokens, Sampled, Sampling, StepOutput, StepPlan, Stop,
    TableChange, TokenId,
};
use expect_test::Expect;
use runtime_core::{
    CancelCause, Costs, Limits, PrefixCache, Pricing, Rejected, Request, RequestId, Scheduler,
    Tenant, TenantId, Tenants, Terms, Tick, Updates,
};

/// The token that ends an output; scripts say when it comes.
const STOP: TokenId = TokenId(999);

/// Runs `script` and compares what happened.
pub(crate) fn check(limits: LimitsBuilder, script: impl FnOnce(&mut Script), expected: &Expect) {
    let mut run = Script::new(limits.0);
    script(&mut run);
    run.scheduler.check();
    expected.assert_eq(&run.log);
}

/// Room for everybody: what a table is about is set beside it.
pub(crate) fn limits() -> LimitsBuilder {
    LimitsBuilder(Limits {
        block_size: 4,
        num_blocks: 64,
        context: 64,
        rows_max: 8,
        step_tokens_max: 32,
        pipeline_depth: 2,
        waiting_max: 8,
        waiting_tokens_max: 1_000,
        step_timeout_us: 1_000,
        prefix_cache: PrefixCache::Off,
        costs: Costs::default(),
        pricing: Pricing::Fixed,
        itl_target_us: 0,
        ageing_us: 1_000,
    })
}

pub(crate) struct LimitsBuilder(Limits);

impl LimitsBuilder {
    pub(crate) fn step_tokens(mut self, step_tokens_max: u32) -> Self {
        self.0.step_tokens_max = step_tokens_max;
        self
    }

    pub(crate) fn itl_target_us(mut self, itl_target_us: u64) -> Self {
        self.0.itl_target_us = itl_target_us;
        self
    }

    pub(crate) fn depth(mut self, pipeline_depth: u32) -> Self {
        self.0.pipeline_depth = pipeline_depth;
        self
    }

    pub(crate) fn blocks(mut self, num_blocks: u32) -> Self {
        self.0.num_blocks = num_blocks;
        self
    }

    pub(crate) fn rows(mut self, rows_max: u32) -> Self {
        self.0.rows_max = rows_max;
        self
    }

    pub(crate) fn waiting(mut self, waiting_max: u32) -> Self {
        self.0.waiting_max = waiting_max;
        self
    }

    pub(crate) fn prefix_cache(mut self) -> Self {
        self.0.prefix_cache = PrefixCache::On;
        self
    }
}

/// A scheduler, the steps that it has in flight, and what was written down.
pub(crate) struct Script {
    scheduler: Scheduler,
    in_flight: VecDeque<StepPlan>,
    /// Positions at which a request samples its stop token.
    stops: Vec<(u64, u32)>,
    now: Tick,
    num_requests: u64,
    log: String,
}

impl Script {
    fn new(limits: Limits) -> Self {
        Self {
            scheduler: Scheduler::new(limits),
            in_flight: VecDeque::new(),
            stops: Vec::new(),
            now: Tick(0),
            num_requests: 0,
            log: String::new(),
        }
    }

    /// The next request: `num_prompt` tokens that begin like most others', `max_tokens` to
    /// generate.
    pub(crate) fn submit(&mut self, num_prompt: u32, max_tokens: u32) {
        self.submit_of(0, num_prompt, max_tokens);
    }

    /// The next request, whose prompt begins like those of its `family`.
    pub(crate) fn submit_of(&mut self, family: u32, num_prompt: u32, max_tokens: u32) {
        let request = self.request(family, num_prompt, max_tokens);
        let id = request.id.0;
        if let Err(rejected) = self.scheduler.submit(request, self.now) {
            self.log_refusal(id, rejected);
        }
    }

    /// The next request, on these terms.
    pub(crate) fn submit_on(&mut self, terms: Terms, num_prompt: u32, max_tokens: u32) {
        let request = Request { terms, ..self.request(0, num_prompt, max_tokens) };
        let id = request.id.0;
        if let Err(rejected) = self.scheduler.submit(request, self.now) {
            self.log_refusal(id, rejected);
        }
    }

    /// The next request, of this tenant.
    pub(crate) fn submit_of_tenant(&mut self, tenant: u32, num_prompt: u32, max_tokens: u32) {
        let terms = Terms { tenant: TenantId(tenant), ..Terms::default() };
        self.submit_on(terms, num_prompt, max_tokens);
    }

    /// Another table of tenants.
    pub(crate) fn list(&mut self, tenants: &[Tenant]) {
        let tenants = Tenants::new(tenants.iter().copied()).expect("a right table");
        self.scheduler.set_tenants(&tenants);
    }

    /// Time passes, and nothing happens.
    pub(crate) fn wait_until(&mut self, now: u64) {
        self.now = Tick(now);
    }

    /// Of each tenant: who waits, seats, and whole costs per weight.
    pub(crate) fn tenants(&mut self) {
        let mut tenants: Vec<_> = self.scheduler.tenants().collect();
        tenants.sort_by_key(|one| one.tenant);
        for one in tenants {
            let (waiting, seats, counter) = (one.waiting, one.seats, one.counter.whole());
            let held_back = if one.held_back { ", held back" } else { "" };
            self.note(format_args!(
                "tenant {}: waiting {waiting}, seats {seats}, counter {counter}{held_back}",
                one.tenant
            ));
        }
    }

    /// The next request, whose output's token number `num_tokens` (from zero) is a stop token.
    pub(crate) fn submit_stopping(&mut self, num_prompt: u32, max_tokens: u32, num_tokens: u32) {
        self.stops.push((self.num_requests, num_prompt + num_tokens));
        self.submit(num_prompt, max_tokens);
    }

    pub(crate) fn cancel(&mut self, name: char) {
        self.note(format_args!("cancel {name}"));
        self.scheduler.cancel(RequestId(name as u64 - u64::from(b'a')), CancelCause::Disconnect);
        self.poll();
    }

    pub(crate) fn drain(&mut self, deadline: u64) {
        self.note(format_args!("drain by {deadline}"));
        self.scheduler.drain(Tick(deadline));
    }

    pub(crate) fn fail(&mut self) {
        self.note(format_args!("engine fails"));
        self.in_flight.clear();
        self.scheduler.fail(&EngineError::TimedOut, self.now);
        self.poll();
    }

    /// The clock strikes.
    pub(crate) fn tick(&mut self, now: u64) {
        self.now = Tick(now);
        let error = self.scheduler.tick(self.now);
        let next = self.scheduler.next_deadline().map(|next| next.0);
        self.note(format_args!("tick {now}: error={error:?} next={next:?}"));
        self.poll();
    }

    /// Plans until the pipeline is full or there is nothing to do.
    pub(crate) fn plan(&mut self) {
        loop {
            let before = self.scheduler.snapshot();
            let plan = self.scheduler.plan(self.now);
            let after = self.scheduler.snapshot();
            let num_preempted = after.preemptions_total - before.preemptions_total;
            if num_preempted > 0 {
                let (used, total) = (before.blocks_used, before.blocks_total);
                self.note(format_args!(
                    "         {used} of {total} blocks used: preempts {num_preempted}"
                ));
            }
            let Some(plan) = plan else { return };
            self.log_plan(&plan);
            self.in_flight.push_back(plan);
        }
    }

    /// The oldest step in flight ends.
    pub(crate) fn complete(&mut self) {
        let plan = self.in_flight.pop_front().expect("a step is in flight");
        let sampling = plan.rows.iter().filter(|row| row.sample.is_some());
        let sampled =
            sampling.map(|row| Sampled::bare(row.sequence, Outcome::Token(self.token(row))));
        let (step, gap) = (plan.step, Duration::ZERO);
        let output = StepOutput { step, sampled: sampled.collect(), gap };
        self.scheduler.complete(&output, self.now);
        self.poll();
    }

    /// Plans, and the oldest step in flight takes so long.
    pub(crate) fn complete_in(&mut self, took_us: u64) {
        self.plan();
        self.scheduler.measure(took_us);
        self.complete();
    }

    /// Plans and completes until nothing is left.
    pub(crate) fn run(&mut self) {
        self.plan();
        while !self.in_flight.is_empty() {
            self.complete();
            self.plan();
        }
        assert!(self.scheduler.is_quiet(), "somebody was forgotten:\n{}", self.log);
    }

    /// Where the blocks are.
    pub(crate) fn blocks(&mut self) {
        let snapshot = self.scheduler.snapshot();
        let (used, cached) = (snapshot.blocks_used, snapshot.blocks_cached);
        self.note(format_args!("blocks used={used} cached={cached}"));
    }

    fn request(&mut self, family: u32, num_prompt: u32, max_tokens: u32) -> Request {
        let id = RequestId(self.num_requests);
        self.num_requests += 1;
        Request {
            id,
            prompt: (0..num_prompt).map(|position| TokenId(1_000 * family + position)).collect(),
            max_tokens,
            min_tokens: 0,
            stop_tokens: Arc::new([STOP]),
            sampling: Arc::new(Sampling::GREEDY),
            salt: 0,
            terms: Terms::default(),
        }
    }

    fn token(&self, row: &Row) -> TokenId {
        let position = row.start + row.tokens.len() as u32;
        let is_stop = self.stops.contains(&(row.sequence.0, position));
        if is_stop { STOP } else { TokenId(100 + position) }
    }

    fn log_plan(&mut self, plan: &StepPlan) {
        let rows: Vec<_> = plan.rows.iter().map(show_row).collect();
        let stop = match plan.stop {
            Stop::Blocks => "blocks",
            Stop::Empty => "empty",
            Stop::Latency => "latency",
            Stop::Rows => "rows",
            Stop::Tenant => "tenant",
            Stop::Tokens => "tokens",
        };
        let (step, rows) = (plan.step.0 + 1, rows.join(" "));
        self.note(format_args!("step {step:<3} {rows:<30} stop={stop}"));
    }

    fn log_refusal(&mut self, id: u64, rejected: Rejected) {
        let retry_after = rejected.retry_after_us();
        let retry_after =
            retry_after.map_or_else(String::new, |time| format!(" (again in {time})"));
        self.note(format_args!("{} refused: {rejected}{retry_after}", name(id)));
    }

    fn note(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.log, "{line}").expect("a string grows");
    }

    /// What requests hear, if it is more than tokens.
    fn poll(&mut self) {
        let mut updates = Updates::default();
        self.scheduler.poll_updates(&mut updates);
        for update in updates.entries {
            let name = name(update.id.0);
            if let Some(num_cached @ 1..) = update.num_cached {
                self.note(format_args!("         {name} had {num_cached} tokens cached"));
            }
            if let Some(end) = update.end {
                self.note(format_args!("         {name} {end:?}"));
            }
        }
    }
}

fn show_row(row: &Row) -> String {
    let len = row.tokens.len();
    let tokens = match (&row.tokens, &row.table) {
        (RowTokens::Device, _) => "1d*".to_owned(),
        (RowTokens::Host(..), TableChange::Extend(_)) if len == 1 && row.sample.is_some() => {
            "1d".to_owned()
        }
        (RowTokens::Host(..), _) => format!("{len}p"),
    };
    let fresh = match &row.table {
        TableChange::Fresh(_) if row.start > 0 => format!("@{}", row.start),
        TableChange::Extend(_) | TableChange::Fresh(_) => String::new(),
    };
    format!("{}:{tokens}{fresh}", name(row.sequence.0))
}

fn name(id: u64) -> char {
    char::from(b'a' + id as u8)
}
