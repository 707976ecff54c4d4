//! Law 16, against an engine whose times follow a curve that the scheduler has to find out.
//!
//! * A step that decodes have a row in takes no longer than the target, whenever a chunk that is
//!   worth its step leaves that possible.
//! * Where none does, steps without a chunk come before one that has one, as many as it takes for
//!   the target to hold on average, and never more than a few.
//! * Prompts get what decodes leave of the target: a chunk that is cut could not be much longer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use engine_contract::{
    Outcome, Row, Sampled, Sampling, StepId, StepOutput, StepPlan, Stop, TokenId,
};
use runtime_core::{
    Costs, Limits, PrefixCache, Pricing, Request, RequestId, Scheduler, Terms, Tick, Updates,
};

use crate::client::WITHHELD_MAX;
use crate::rng::Rng;

/// The shortest chunk that is worth its step.
const CHUNK_MIN: u32 = 16;

/// Steps after which the curve is known.
const KNOWN: u64 = 300;
const STEPS: u64 = 2_500;

/// What steps really take, in microseconds.
struct Truth {
    fixed: f64,
    /// Of each of the first positions, and of each one beyond them.
    each: (f64, f64),
    bend: f64,
    sampled: f64,
    pair: f64,
}

impl Truth {
    fn draw(rng: &mut Rng) -> Self {
        let per_mille = |rng: &mut Rng, most| f64::from(rng.between(0..=most)) / 1_000.0;
        let beyond = 1.0 + per_mille(rng, 200_000);
        Self {
            fixed: f64::from(rng.between(500..=8_000)),
            each: (beyond * (1.0 + per_mille(rng, 5_000)), beyond),
            bend: f64::from(rng.between(4..=64)),
            sampled: per_mille(rng, 20_000),
            pair: beyond * per_mille(rng, 1_000) / 1_000.0,
        }
    }

    fn time(&self, num_positions: f64, num_sampled: f64, num_pairs: f64) -> f64 {
        let (early, late) = self.each;
        let bent = early * num_positions.min(self.bend);
        let straight = late * (num_positions - self.bend).max(0.0);
        self.fixed + bent + straight + self.sampled * num_sampled + self.pair * num_pairs
    }

    fn of<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> f64 {
        let (mut positions, mut sampled, mut pairs) = (0.0, 0.0, 0.0);
        for row in rows {
            let (start, len) = (f64::from(row.start), row.tokens.len() as f64);
            positions += len;
            sampled += f64::from(u8::from(row.sample.is_some()));
            pairs += len * start + len * (len + 1.0) / 2.0;
        }
        self.time(positions, sampled, pairs)
    }
}

/// What was seen of one run.
#[derive(Debug, Default)]
struct Tally {
    protected: u32,
    cut: u32,
    withheld: u32,
    /// Longer than the target, and not by a chunk that was saved up for.
    late: u32,
    /// Cut although there was time.
    idle: u32,
    /// Chunks that were not paid for by the steps before them.
    unpaid: u32,
}

struct Run {
    scheduler: Scheduler,
    truth: Truth,
    target: f64,
    in_flight: VecDeque<StepPlan>,
    num_requests: u64,
    /// Of the last steps in a row without a chunk: how many, and what they left of the target.
    withheld: (u32, f64),
    tally: Tally,
}

impl Run {
    fn new(rng: &mut Rng) -> Self {
        let truth = Truth::draw(rng);
        let decodes = truth.time(16.0, 16.0, 16.0 * 800.0);
        let target = decodes * f64::from(rng.between(1_050..=4_000)) / 1_000.0;
        let limits = Limits {
            block_size: 16,
            num_blocks: 32 * 256,
            context: 4_096,
            rows_max: 32,
            step_tokens_max: 512,
            pipeline_depth: rng.between(1..=2),
            waiting_max: 1_000,
            waiting_tokens_max: u64::MAX,
            step_timeout_us: u64::MAX,
            prefix_cache: PrefixCache::Off,
            costs: Costs::default(),
            pricing: Pricing::Measured,
            itl_target_us: target as u64,
            ageing_us: 1_000_000,
        };
        Self {
            scheduler: Scheduler::new(limits),
            truth,
            target,
            in_flight: VecDeque::new(),
            num_requests: 0,
            withheld: (0, 0.0),
            tally: Tally::default(),
        }
    }

    fn submit(&mut self, rng: &mut Rng) {
        let num_prompt = *rng.pick(&[5, 60, 300, 2_000]);
        let request = Request {
            id: RequestId(self.num_requests),
            prompt: (0..num_prompt).map(TokenId).collect(),
            max_tokens: rng.between(10..=200),
            min_tokens: 0,
            stop_tokens: Arc::new([]),
            sampling: Arc::new(Sampling::GREEDY),
            salt: 0,
            terms: Terms::default(),
        };
        self.num_requests += 1;
        self.scheduler.submit(request, Tick(0)).expect("the queue is long enough");
    }

    fn step(&mut self, rng: &mut Rng) {
        while let Some(plan) = self.scheduler.plan(Tick(0)) {
            self.judge(&plan);
            self.in_flight.push_back(plan);
        }
        let Some(plan) = self.in_flight.pop_front() else { return };
        let noise = f64::from(rng.between(970..=1_030)) / 1_000.0;
        self.scheduler.measure((self.truth.of(plan.rows.iter()) * noise) as u64);
        self.scheduler.complete(&answer(&plan), Tick(0));
        self.scheduler.poll_updates(&mut Updates::default());
    }

    fn judge(&mut self, plan: &StepPlan) {
        let is_decode = |row: &&Row| row.start >= row.num_prompt;
        let decodes = self.truth.of(plan.rows.iter().filter(is_decode));
        let chunks = plan.rows.iter().filter(|row| !is_decode(row));
        let num_chunk: u32 = chunks.map(|row| row.tokens.len() as u32).sum();
        let is_protected = plan.rows.iter().any(|row| is_decode(&row));
        let is_known = plan.step.0 > KNOWN;
        if !is_protected {
            assert_ne!(plan.stop, Stop::Latency, "law 16: nobody runs");
            self.withheld = (0, 0.0);
            return;
        }
        self.tally.protected += 1;
        let time = self.truth.of(plan.rows.iter());
        if plan.stop == Stop::Latency {
            self.tally.cut += 1;
            let longer = f64::from((num_chunk / 4).max(CHUNK_MIN)) * self.truth.each.0;
            let has_time = time + longer + self.truth.pair * longer * 2_000.0 < 0.85 * self.target;
            self.tally.idle += u32::from(is_known && has_time);
        }
        let (num_withheld, saved) = self.withheld;
        if num_chunk == 0 {
            let is_withheld = plan.stop == Stop::Latency;
            let left = saved + (self.target - decodes).max(0.0);
            self.withheld = if is_withheld { (num_withheld + 1, left) } else { (0, 0.0) };
            assert!(self.withheld.0 <= WITHHELD_MAX, "law 16: {} get nothing", plan.step);
            self.tally.withheld += u32::from(is_withheld);
            return;
        }
        self.withheld = (0, 0.0);
        let is_over = is_known && time > 1.1 * self.target && num_withheld < WITHHELD_MAX;
        let is_small = num_chunk <= CHUNK_MIN;
        self.tally.late += u32::from(is_over && !is_small);
        let is_paid = time - 1.1 * self.target <= saved + 0.1 * self.target;
        self.tally.unpaid += u32::from(is_over && is_small && !is_paid);
    }
}

fn answer(plan: &StepPlan) -> StepOutput {
    let rows = plan.rows.iter().filter(|row| row.sample.is_some());
    let token = Outcome::Token(TokenId(1));
    let sampled = rows.map(|row| Sampled::bare(row.sequence, token)).collect();
    StepOutput { step: StepId(plan.step.0), sampled, gap: Duration::ZERO }
}

fn run(seed: u64) -> Tally {
    let mut rng = Rng::new(seed);
    let mut run = Run::new(&mut rng);
    let arrival = *rng.pick(&[20, 60, 200]);
    for _ in 0..STEPS {
        if rng.chance(arrival) || run.scheduler.is_quiet() {
            run.submit(&mut rng);
        }
        run.step(&mut rng);
    }
    run.tally
}

#[test]
fn running_streams_get_their_tokens_in_time_and_prompts_get_the_rest() {
    let mut all = Tally::default();
    for seed in 0..200 {
        let tally = run(seed);
        let few = tally.protected / 100 + 1;
        assert!(tally.late <= few, "law 16: seed {seed}: {tally:?}");
        // What a forecast is off by while it learns.
        assert!(tally.unpaid <= 3 * few, "law 16: seed {seed}: {tally:?}");
        assert!(tally.idle <= 5 * few, "law 7: seed {seed}: {tally:?}");
        all.protected += tally.protected;
        all.cut += tally.cut;
        all.withheld += tally.withheld;
    }
    assert!(all.cut > 10_000 && all.withheld > 100, "too calm: {all:?}");
}
