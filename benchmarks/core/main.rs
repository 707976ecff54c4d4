//! What the scheduler core costs: planning and completing decode steps, by rows in the batch.
//!
//! `bench-core` prints the median and the 99th percentile of `plan` and `complete` in microseconds.
//! The budget is 80 and 60 µs at 256 rows, so that the host stays hidden behind the shortest step.

#![expect(clippy::print_stdout, reason = "the table is the program's output")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_contract::{Outcome, Sampled, Sampling, StepOutput, StepPlan, TokenId};
use runtime_core::{Limits, PrefixCache, Request, RequestId, Scheduler, Tick, Updates};

const STEPS: usize = 2_000;

fn main() {
    println!(
        "| rows | plan p50 µs | plan p99 µs | complete p50 µs | complete p99 µs | poll p50 µs |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: |");
    for rows in [64, 256, 1_024] {
        let mut times = measure(rows);
        println!(
            "| {rows} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
            quantile(&mut times.plan, 0.5),
            quantile(&mut times.plan, 0.99),
            quantile(&mut times.complete, 0.5),
            quantile(&mut times.complete, 0.99),
            quantile(&mut times.poll, 0.5),
        );
    }
}

#[derive(Default)]
struct Times {
    plan: Vec<f64>,
    complete: Vec<f64>,
    poll: Vec<f64>,
}

/// Decode steps of `rows` sequences with two steps in flight.
fn measure(rows: u32) -> Times {
    let limits = Limits {
        block_size: 16,
        num_blocks: rows * 256,
        context: 4_096,
        rows_max: rows,
        step_tokens_max: rows.max(512),
        pipeline_depth: 2,
        waiting_max: rows,
        waiting_tokens_max: u64::MAX,
        step_timeout_us: u64::MAX,
        prefix_cache: PrefixCache::On,
    };
    let mut scheduler = Scheduler::new(limits);
    for row in 0..rows {
        scheduler.submit(request(row), Tick(0)).expect("the queue holds every row");
    }
    let (mut times, mut updates, mut in_flight) = (Times::default(), Updates::default(), None);
    for step in 0..STEPS as u64 {
        let now = Tick(step);
        let started = Instant::now();
        let plan = scheduler.plan(now).expect("every row runs on");
        let planned = started.elapsed();
        if let Some(previous) = in_flight.replace(answer(&plan)) {
            let started = Instant::now();
            scheduler.complete(&previous, now);
            let completed = started.elapsed();
            let started = Instant::now();
            scheduler.poll_updates(&mut updates);
            let polled = started.elapsed();
            if plan.rows.len() == rows as usize && plan.num_tokens() == rows as usize {
                times.plan.push(planned.as_secs_f64() * 1e6);
                times.complete.push(completed.as_secs_f64() * 1e6);
                times.poll.push(polled.as_secs_f64() * 1e6);
            }
        }
    }
    times
}

fn request(row: u32) -> Request {
    Request {
        id: RequestId(u64::from(row)),
        prompt: (0..64).map(|i| TokenId(row * 64 + i)).collect(),
        max_tokens: u32::MAX,
        min_tokens: 0,
        stop_tokens: Arc::from([]),
        sampling: Arc::new(Sampling::GREEDY),
        salt: 0,
    }
}

fn answer(plan: &StepPlan) -> StepOutput {
    let sampled = plan
        .rows
        .iter()
        .filter(|row| row.sample.is_some())
        .map(|row| Sampled::bare(row.sequence, Outcome::Token(TokenId(7))))
        .collect();
    StepOutput { step: plan.step, sampled, gap: Duration::ZERO }
}

fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * q) as usize]
}
