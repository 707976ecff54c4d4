//! What the scheduler core costs: planning and completing decode steps, by rows in the batch, by
//! tenants that they belong to, and by requests that wait behind them, each with a deadline.
//!
//! `bench-core` prints the median and the 99th percentile of `plan` and `complete` in microseconds.
//! The budget is 80 and 60 µs at 256 rows, so that the host stays hidden behind the shortest step,
//! and 300 µs for `plan` at 1,024 rows.

#![expect(clippy::print_stdout, reason = "the table is the program's output")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_contract::{Outcome, Sampled, Sampling, StepOutput, StepPlan, TokenId};
use runtime_core::{
    Costs, Limits, PrefixCache, Pricing, Request, RequestId, Scheduler, Tenant, TenantId, Tenants,
    Terms, Tick, Updates,
};

const STEPS: usize = 2_000;

/// By this step everybody who may run does; who comes later waits.
const FULL: u64 = 200;

fn main() {
    println!(
        "| rows | tenants | waiting | plan p50 µs | plan p99 µs | complete p50 µs | \
         complete p99 µs | poll p50 µs |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let scales = [
        Scale { rows: 64, tenants: 1, waiting: 0 },
        Scale { rows: 256, tenants: 1, waiting: 0 },
        Scale { rows: 1_024, tenants: 1, waiting: 0 },
        Scale { rows: 1_024, tenants: 1, waiting: 10_000 },
        Scale { rows: 1_024, tenants: 16, waiting: 10_000 },
        Scale { rows: 1_024, tenants: 1_000, waiting: 10_000 },
    ];
    for scale in scales {
        let mut times = measure(scale);
        let Scale { rows, tenants, waiting } = scale;
        println!(
            "| {rows} | {tenants} | {waiting} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
            quantile(&mut times.plan, 0.5),
            quantile(&mut times.plan, 0.99),
            quantile(&mut times.complete, 0.5),
            quantile(&mut times.complete, 0.99),
            quantile(&mut times.poll, 0.5),
        );
    }
}

/// How much there is of everything.
#[derive(Clone, Copy)]
struct Scale {
    rows: u32,
    tenants: u32,
    waiting: u32,
}

#[derive(Default)]
struct Times {
    plan: Vec<f64>,
    complete: Vec<f64>,
    poll: Vec<f64>,
}

/// Decode steps with two steps in flight; nobody who waits ever gets a seat.
fn measure(scale: Scale) -> Times {
    let Scale { rows, tenants, waiting } = scale;
    let limits = Limits {
        block_size: 16,
        num_blocks: rows * 256,
        context: 4_096,
        rows_max: rows,
        step_tokens_max: rows.max(512),
        pipeline_depth: 2,
        waiting_max: rows + waiting,
        waiting_tokens_max: u64::MAX,
        step_timeout_us: u64::MAX,
        prefix_cache: PrefixCache::On,
        costs: Costs::default(),
        pricing: Pricing::Measured,
        itl_target_us: 50_000,
        ageing_us: 1_000_000,
    };
    let mut scheduler = Scheduler::new(limits);
    let table = (0..tenants).map(|id| Tenant::unbounded(TenantId(id)));
    scheduler.set_tenants(&Tenants::new(table).expect("a right table"));
    let submit = |scheduler: &mut Scheduler, number| {
        let request = request(number, tenants);
        scheduler.submit(request, Tick(0)).expect("the queue holds everybody");
    };
    (0..rows).for_each(|number| submit(&mut scheduler, number));
    let (mut times, mut updates, mut in_flight) = (Times::default(), Updates::default(), None);
    for step in 0..STEPS as u64 {
        let now = Tick(step);
        if step == FULL {
            (rows..rows + waiting).for_each(|number| submit(&mut scheduler, number));
        }
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
            let is_decode = plan.rows.len() == rows as usize && plan.num_tokens() == rows as usize;
            if step > FULL && is_decode {
                times.plan.push(planned.as_secs_f64() * 1e6);
                times.complete.push(completed.as_secs_f64() * 1e6);
                times.poll.push(polled.as_secs_f64() * 1e6);
            }
        }
    }
    times
}

fn request(number: u32, tenants: u32) -> Request {
    Request {
        id: RequestId(u64::from(number)),
        prompt: (0..64).map(|i| TokenId(number * 64 + i)).collect(),
        max_tokens: u32::MAX,
        min_tokens: 0,
        stop_tokens: Arc::from([]),
        sampling: Arc::new(Sampling::GREEDY),
        salt: 0,
        terms: Terms {
            tenant: TenantId(number % tenants),
            deadline: Some(Tick(u64::MAX - u64::from(number))),
            ..Terms::default()
        },
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
