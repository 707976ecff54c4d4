//! What came of a trace: for people as a table, for machines by serde.

use std::collections::BTreeMap;
use std::fmt;

use runtime_core::Snapshot;
use serde::Serialize;

use crate::histogram::Histogram;
use crate::trace::Arrival;
use crate::world::{Order, Outcomes, Record, Setting};
use crate::{Slo, Trace};

/// What came of a trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// From the first arrival to the last token, in seconds of virtual time.
    pub duration_s: f64,
    /// The part of it in which the engine worked.
    pub busy_share: f64,
    /// Requests offered.
    pub requests: u64,
    /// Requests that got their whole output.
    pub finished: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// Steps planned.
    pub steps: u64,
    /// Sequences preempted.
    pub preemptions: u64,
    /// Requests well served, a second.
    pub goodput_per_s: f64,
    /// Time to first token, in milliseconds; nothing if nobody got one.
    pub ttft_ms: Option<Quantiles>,
    /// Time between tokens, in milliseconds.
    pub itl_ms: Option<Quantiles>,
    /// Jain's index of the services by weight: 1 is the same for all, `1 / n` all for one.
    pub jain: f64,
    /// The largest distance of the counters of two tenants that waited, in costs by weight.
    pub service_gap_max: u64,
    /// Requests refused, by reason.
    pub rejections: BTreeMap<String, u64>,
    /// By tenant, as the trace names them.
    pub tenants: Vec<TenantReport>,
}

/// What came of one tenant's requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TenantReport {
    /// Its name.
    pub name: String,
    /// Its weight.
    pub weight: u32,
    /// Requests offered.
    pub requests: u64,
    /// Requests that got their whole output.
    pub finished: u64,
    /// Prompt tokens of those that got a token.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// The cost of both, at the scheduler's last prices.
    pub service: u64,
    /// Requests well served, a second.
    pub goodput_per_s: f64,
    /// Time to first token, in milliseconds; nothing if nobody got one.
    pub ttft_ms: Option<Quantiles>,
    /// Time between tokens, in milliseconds.
    pub itl_ms: Option<Quantiles>,
}

/// What half, nine tenths and 99 of a hundred are not above.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half.
    pub p50: f64,
    /// Nine tenths.
    pub p90: f64,
    /// 99 of a hundred.
    pub p99: f64,
}

/// Sums over requests.
#[derive(Clone, Default)]
struct Sums {
    requests: u64,
    finished: u64,
    prompt_tokens: u64,
    output_tokens: u64,
    num_well_served: u64,
    ttft: Histogram,
}

impl Report {
    pub(crate) fn new(
        trace: &Trace,
        setting: &Setting,
        outcomes: &Outcomes,
        snapshot: &Snapshot,
    ) -> Self {
        let duration_s = (outcomes.ends_us as f64 / 1e6).max(1e-6);
        let mut sums = vec![Sums::default(); trace.tenants.len()];
        for (arrival, record) in trace.arrivals.iter().zip(&outcomes.records) {
            sums[arrival.tenant as usize].add(arrival, record, setting.slo);
        }
        let costs = snapshot.costs;
        let tenant = |(((name, weight), sums), itl): (((&String, u32), &Sums), &Histogram)| {
            let service = u64::from(costs.prefill) * sums.prompt_tokens
                + u64::from(costs.output) * sums.output_tokens;
            TenantReport {
                name: name.clone(),
                weight,
                requests: sums.requests,
                finished: sums.finished,
                prompt_tokens: sums.prompt_tokens,
                output_tokens: sums.output_tokens,
                service,
                goodput_per_s: sums.num_well_served as f64 / duration_s,
                ttft_ms: Quantiles::of(&sums.ttft),
                itl_ms: Quantiles::of(itl),
            }
        };
        let names = trace.tenants.iter().map(|(name, weight)| {
            let served = setting.tenants.get(name);
            (name, served.map_or(*weight, |served| served.tenant.weight))
        });
        let tenants: Vec<_> = names.zip(&sums).zip(&outcomes.itl).map(tenant).collect();
        let (mut ttft, mut itl) = (Histogram::default(), Histogram::default());
        sums.iter().for_each(|sums| ttft.merge(&sums.ttft));
        outcomes.itl.iter().for_each(|own| itl.merge(own));
        Self {
            duration_s,
            busy_share: outcomes.busy_us as f64 / 1e6 / duration_s,
            requests: trace.arrivals.len() as u64,
            finished: tenants.iter().map(|tenant| tenant.finished).sum(),
            output_tokens: tenants.iter().map(|tenant| tenant.output_tokens).sum(),
            steps: snapshot.steps_total,
            preemptions: snapshot.preemptions_total,
            goodput_per_s: tenants.iter().map(|tenant| tenant.goodput_per_s).sum(),
            ttft_ms: Quantiles::of(&ttft),
            itl_ms: Quantiles::of(&itl),
            jain: jain(&tenants),
            service_gap_max: match setting.order {
                Order::Fair => snapshot.service_gap_max.whole(),
                Order::Fifo => 0,
            },
            rejections: outcomes.refused.iter().map(|(&key, &num)| (key.to_owned(), num)).collect(),
            tenants,
        }
    }
}

impl Sums {
    fn add(&mut self, arrival: &Arrival, record: &Record, slo: Slo) {
        self.requests += 1;
        self.finished += u64::from(record.has_finished);
        self.output_tokens += u64::from(record.num_tokens);
        let Some(first) = record.first_us else { return };
        self.prompt_tokens += u64::from(arrival.prompt);
        let ttft = first - arrival.at_us;
        self.ttft.add(ttft);
        let gaps = u64::from(record.num_tokens - 1).max(1);
        let mean_itl = (record.last_us - first) / gaps;
        let is_served = record.has_finished && ttft <= slo.ttft_us && mean_itl <= slo.itl_us;
        self.num_well_served += u64::from(is_served);
    }
}

impl Quantiles {
    fn of(histogram: &Histogram) -> Option<Self> {
        let at = |percent| histogram.quantile(percent).map(|micros| micros as f64 / 1e3);
        Some(Self { p50: at(50)?, p90: at(90)?, p99: at(99)? })
    }
}

/// Jain, Chiu and Hawe, "A Quantitative Measure of Fairness" (1984).
fn jain(tenants: &[TenantReport]) -> f64 {
    let by_weight = tenants.iter().map(|tenant| tenant.service as f64 / f64::from(tenant.weight));
    let (sum, squares) = by_weight
        .fold((0.0, 0.0), |(sum, squares), service| (sum + service, squares + service * service));
    if squares > 0.0 { sum * sum / (tenants.len() as f64 * squares) } else { 1.0 }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} requests in {:.1} s, {} finished, {} tokens in {} steps, {} preemptions",
            self.requests,
            self.duration_s,
            self.finished,
            self.output_tokens,
            self.steps,
            self.preemptions
        )?;
        writeln!(
            f,
            "goodput {:.3}/s, engine busy {:.1} %, Jain's index {:.3}, largest service gap {}",
            self.goodput_per_s,
            100.0 * self.busy_share,
            self.jain,
            self.service_gap_max
        )?;
        for (reason, num) in &self.rejections {
            writeln!(f, "{num} refused: {reason}")?;
        }
        writeln!(
            f,
            "\n| tenant | weight | requests | finished | service | goodput/s | TTFT ms p50 | p90 | \
             p99 | ITL ms p50 | p90 | p99 |"
        )?;
        writeln!(f, "| --- |{}", " ---: |".repeat(11))?;
        for tenant in &self.tenants {
            let TenantReport { name, weight, requests, finished, service, .. } = tenant;
            write!(f, "| {name} | {weight} | {requests} | {finished} | {service} ")?;
            write!(f, "| {:.3} ", tenant.goodput_per_s)?;
            writeln!(f, "| {} | {} |", Cells(tenant.ttft_ms), Cells(tenant.itl_ms))?;
        }
        write!(
            f,
            "| all | | {} | {} | | {:.3} ",
            self.requests, self.finished, self.goodput_per_s
        )?;
        writeln!(f, "| {} | {} |", Cells(self.ttft_ms), Cells(self.itl_ms))
    }
}

/// Three cells of a table.
struct Cells(Option<Quantiles>);

impl fmt::Display for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Quantiles { p50, p90, p99 }) => write!(f, "{p50:.1} | {p90:.1} | {p99:.1}"),
            None => f.write_str("- | - | -"),
        }
    }
}
