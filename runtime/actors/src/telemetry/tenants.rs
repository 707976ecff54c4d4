//! What each tenant's requests go through.
//!
//! The label is the tenant's configured name, so there are as many series as the table has tenants,
//! whatever clients send. What a tenant counted stays with it when the table is replaced; a tenant
//! that is in no table is not shown.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric as _, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use runtime_core::TenantSnapshot;

use super::histogram::Histogram;
use super::requests::{Outcome, WAIT_MICROS, reason};
use crate::Refused;
use crate::tenancy::{Directory, Record};

/// Counts of one tenant's requests.
#[derive(Debug)]
pub(crate) struct TenantMetrics {
    ended: Mutex<BTreeMap<&'static str, u64>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    output_tokens: AtomicU64,
    /// From the call to the first step that computes for it.
    pub(crate) queue: Histogram,
    /// From the call to the first token.
    pub(crate) ttft: Histogram,
}

impl Default for TenantMetrics {
    fn default() -> Self {
        Self {
            ended: Mutex::default(),
            refused: Mutex::default(),
            prompt_tokens: AtomicU64::new(0),
            cached_tokens: AtomicU64::new(0),
            output_tokens: AtomicU64::new(0),
            queue: Histogram::of_seconds(WAIT_MICROS),
            ttft: Histogram::of_seconds(WAIT_MICROS),
        }
    }
}

impl TenantMetrics {
    /// Counts the end of a request.
    pub(crate) fn end(&self, outcome: Outcome) {
        *self.ended.lock().entry(outcome.name()).or_default() += 1;
    }

    /// Counts a request that was not taken.
    pub(crate) fn refuse(&self, refused: &Refused) {
        *self.refused.lock().entry(reason(refused)).or_default() += 1;
    }

    /// Counts tokens of a prompt.
    pub(crate) fn prompt(&self, num_tokens: u32) {
        self.prompt_tokens.fetch_add(num_tokens.into(), Ordering::Relaxed);
    }

    /// Counts tokens of a prompt that were found in the prefix cache.
    pub(crate) fn cached(&self, num_tokens: u32) {
        self.cached_tokens.fetch_add(num_tokens.into(), Ordering::Relaxed);
    }

    /// Counts tokens of an output.
    pub(crate) fn output(&self, num_tokens: u64) {
        self.output_tokens.fetch_add(num_tokens, Ordering::Relaxed);
    }
}

/// Shows every tenant of the table at each scrape.
#[derive(Debug)]
pub(crate) struct TenantCollector {
    directory: Arc<Directory>,
    /// What the scheduler last said of them.
    census: Mutex<Vec<TenantSnapshot>>,
}

impl TenantCollector {
    pub(crate) fn new(directory: Arc<Directory>) -> Self {
        Self { directory, census: Mutex::default() }
    }

    /// The scheduler's counts, for the next scrape.
    pub(crate) fn take_census(&self, census: Vec<TenantSnapshot>) {
        *self.census.lock() = census;
    }
}

impl Collector for TenantCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let records = self.directory.records();
        for &(name, help, read) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for record in &records {
                let count = read(&record.metrics).load(Ordering::Relaxed);
                family
                    .encode_family(&tenant(record))?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        for &(name, help, label, read) in BY_WORD {
            let family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            encode_by_word(family, &records, label, read)?;
        }
        for &(name, help, read) in HISTOGRAMS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for record in &records {
                read(&record.metrics).encode(family.encode_family(&tenant(record))?)?;
            }
        }
        let census = self.census.lock();
        let of: HashMap<_, _> = census.iter().map(|now| (now.tenant, now)).collect();
        for &(name, help, read) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for record in &records {
                let value = of.get(&record.id).map_or(0, |now| read(now));
                family.encode_family(&tenant(record))?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

fn encode_by_word(
    mut family: MetricEncoder<'_>,
    records: &[Arc<Record>],
    label: &'static str,
    read: fn(&TenantMetrics) -> &Mutex<BTreeMap<&'static str, u64>>,
) -> fmt::Result {
    for record in records {
        for (word, count) in &*read(&record.metrics).lock() {
            let labels = [("tenant", &*record.name), (label, *word)];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
        }
    }
    Ok(())
}

fn tenant(record: &Record) -> [(&'static str, &str); 1] {
    [("tenant", &record.name)]
}

type Read<T> = (&'static str, &'static str, fn(&TenantMetrics) -> &T);
type ReadByWord = (
    &'static str,
    &'static str,
    &'static str,
    fn(&TenantMetrics) -> &Mutex<BTreeMap<&'static str, u64>>,
);
type ReadSnapshot = (&'static str, &'static str, fn(&TenantSnapshot) -> i64);

const COUNTERS: &[Read<AtomicU64>] = &[
    ("tenant_prompt_tokens", "Tokens of submitted prompts", |metrics| &metrics.prompt_tokens),
    ("tenant_cached_tokens", "Prompt tokens found in the prefix cache", |metrics| {
        &metrics.cached_tokens
    }),
    ("tenant_output_tokens", "Tokens generated", |metrics| &metrics.output_tokens),
];

const BY_WORD: &[ReadByWord] = &[
    ("tenant_requests", "Requests that ended, by outcome", "outcome", |metrics| &metrics.ended),
    ("tenant_requests_refused", "Requests not taken, by reason", "reason", |metrics| {
        &metrics.refused
    }),
];

const HISTOGRAMS: &[Read<Histogram>] = &[
    ("tenant_queue_seconds", "From the call to the first step", |metrics| &metrics.queue),
    ("tenant_ttft_seconds", "From the call to the first token", |metrics| &metrics.ttft),
];

const GAUGES: &[ReadSnapshot] = &[
    ("tenant_queue_depth", "Requests waiting for a seat", |now| now.waiting.into()),
    ("tenant_queue_tokens", "Prompt tokens waiting", |now| signed(now.waiting_tokens)),
    ("tenant_sequences_running", "Sequences with a seat", |now| now.seats.into()),
    ("tenant_kv_blocks_used", "Blocks charged to the tenant", |now| now.blocks_used.into()),
    ("tenant_service", "Virtual token counter: the cost of the tokens had, by the weight", |now| {
        signed(now.counter.whole())
    }),
    (
        "tenant_service_lag",
        "How far the counter is behind that of the most served who wait",
        |now| signed(now.lag.whole()),
    ),
];

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
