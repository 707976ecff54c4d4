//! What can be seen from outside: the published snapshot, counters and histograms.
//!
//! The scheduler publishes a [`Snapshot`] once a step; gauges are read from it when somebody
//! scrapes. Counters and histograms that the per-token path touches are atomics. Names begin with
//! `antiphon_` and carry the label `model`; three gauges are served again under the names that
//! inference gateways read (`vllm:…`).

mod histogram;
mod requests;
mod steps;
mod tenants;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use runtime_core::Snapshot;

pub(crate) use requests::{Outcome, Phase, RequestMetrics};
pub(crate) use steps::{StepMetrics, StepTiming};
pub(crate) use tenants::{TenantCollector, TenantMetrics};

use crate::tenancy::Directory;

/// Metrics of one runtime.
#[derive(Debug)]
pub struct Telemetry {
    model: String,
    registry: Mutex<Registry>,
    snapshot: Mutex<Snapshot>,
    gauges: Gauges,
    totals: Totals,
    /// What each tenant's requests go through.
    pub(crate) tenants: Arc<TenantCollector>,
    /// Records of usage that nobody could take.
    pub(crate) usage_lost: Counter,
    /// What requests go through.
    pub(crate) requests: RequestMetrics,
    /// What steps take.
    pub(crate) steps: StepMetrics,
}

/// Set from the snapshot at each scrape.
#[derive(Debug, Default)]
struct Gauges {
    waiting: Gauge,
    waiting_tokens: Gauge,
    running: Gauge,
    kv_blocks: Gauge,
    kv_blocks_used: Gauge,
    kv_blocks_cached: Gauge,
    kv_usage: Gauge<f64, AtomicU64>,
}

/// Advanced from the snapshot's totals at each publication.
#[derive(Debug, Default)]
struct Totals {
    preemptions: Counter,
    prefix_queried: Counter,
    prefix_hit: Counter,
}

impl Telemetry {
    /// Everything at zero, for the model of this name.
    pub(crate) fn new(model: &str, directory: Arc<Directory>) -> Self {
        let mut registry = Registry::default();
        let (gauges, totals) = (Gauges::default(), Totals::default());
        let (requests, steps) = (RequestMetrics::default(), StepMetrics::default());
        gauges.register_for_gateways(&mut registry, model);
        let ours = antiphon(&mut registry, model);
        gauges.register(ours);
        totals.register(ours);
        requests.register(ours);
        steps.register(ours);
        let tenants = Arc::new(TenantCollector::new(directory));
        ours.register_collector(Box::new(Arc::clone(&tenants)));
        let usage_lost = Counter::default();
        let help = "Usage records that were not written";
        ours.register("usage_records_lost", help, usage_lost.clone());
        Self {
            model: model.to_owned(),
            registry: Mutex::new(registry),
            snapshot: Mutex::new(Snapshot::default()),
            gauges,
            totals,
            tenants,
            usage_lost,
            requests,
            steps,
        }
    }

    /// Lets another part of the server register its own metrics, under the same prefix and labels.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(antiphon(&mut self.registry.lock(), &self.model));
    }

    /// Counts records of usage that were taken and then not written.
    pub fn lose_usage(&self, num_records: u64) {
        self.usage_lost.inc_by(num_records);
    }

    /// All metrics in the OpenMetrics text format.
    #[must_use]
    pub fn encode(&self) -> String {
        self.gauges.set(&self.snapshot());
        let mut out = String::new();
        text::encode(&mut out, &self.registry.lock()).expect("writing to a string does not fail");
        out
    }

    /// The scheduler's counts as last published.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        *self.snapshot.lock()
    }

    /// Replaces the published counts.
    pub(crate) fn publish(&self, new: Snapshot) {
        let old = std::mem::replace(&mut *self.snapshot.lock(), new);
        self.totals.advance(&old, &new);
    }
}

/// The part of the registry that carries our prefix and labels.
fn antiphon<'a>(registry: &'a mut Registry, model: &str) -> &'a mut Registry {
    registry
        .sub_registry_with_prefix("antiphon")
        .sub_registry_with_label(("model".into(), model.to_owned().into()))
}

impl Gauges {
    fn register(&self, registry: &mut Registry) {
        let mut gauge = |name, help, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("queue_depth", "Requests waiting for a seat", &self.waiting);
        gauge("queue_tokens", "Prompt tokens waiting", &self.waiting_tokens);
        gauge("sequences_running", "Sequences with a seat", &self.running);
        gauge("kv_blocks", "Blocks in the key-value cache pool", &self.kv_blocks);
        gauge("kv_blocks_used", "Blocks that sequences or steps hold", &self.kv_blocks_used);
        gauge(
            "kv_blocks_cached",
            "Blocks that only the prefix cache holds",
            &self.kv_blocks_cached,
        );
    }

    /// The names of the Gateway API inference extension's model-server protocol.
    fn register_for_gateways(&self, registry: &mut Registry, model: &str) {
        let label = ("model_name".into(), model.to_owned().into());
        let registry = registry.sub_registry_with_label(label);
        let waiting = self.waiting.clone();
        registry.register("vllm:num_requests_waiting", "Requests waiting", waiting);
        let running = self.running.clone();
        registry.register("vllm:num_requests_running", "Requests running", running);
        let usage = self.kv_usage.clone();
        registry.register("vllm:kv_cache_usage_perc", "Share of the cache in use, 0 to 1", usage);
    }

    fn set(&self, snapshot: &Snapshot) {
        self.waiting.set(snapshot.waiting.into());
        self.waiting_tokens.set(i64::try_from(snapshot.waiting_tokens).unwrap_or(i64::MAX));
        self.running.set(snapshot.running.into());
        self.kv_blocks.set(snapshot.blocks_total.into());
        self.kv_blocks_used.set(snapshot.blocks_used.into());
        self.kv_blocks_cached.set(snapshot.blocks_cached.into());
        let total = f64::from(snapshot.blocks_total.max(1));
        self.kv_usage.set(f64::from(snapshot.blocks_used) / total);
    }
}

impl Totals {
    fn register(&self, registry: &mut Registry) {
        let mut counter =
            |name, help, counter: &Counter| registry.register(name, help, counter.clone());
        counter("preemptions", "Sequences that lost their seat and cache", &self.preemptions);
        let help = "Prompt tokens looked up in the prefix cache";
        counter("prefix_cache_queried_tokens", help, &self.prefix_queried);
        let help = "Prompt tokens found in the prefix cache";
        counter("prefix_cache_hit_tokens", help, &self.prefix_hit);
    }

    fn advance(&self, old: &Snapshot, new: &Snapshot) {
        let by = |counter: &Counter, old: u64, new: u64| counter.inc_by(new.saturating_sub(old));
        by(&self.preemptions, old.preemptions_total, new.preemptions_total);
        by(&self.prefix_queried, old.prefix_queried_total, new.prefix_queried_total);
        by(&self.prefix_hit, old.prefix_hit_total, new.prefix_hit_total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_shows_the_published_snapshot_under_both_names() {
        let telemetry = Telemetry::new("tiny", Arc::new(Directory::new()));
        let snapshot = Snapshot {
            waiting: 3,
            running: 2,
            blocks_total: 8,
            blocks_used: 6,
            preemptions_total: 5,
            ..Snapshot::default()
        };
        telemetry.publish(snapshot);
        telemetry.publish(Snapshot { preemptions_total: 7, ..snapshot });
        let extra = Counter::<u64>::default();
        telemetry.register(|registry| registry.register("bytes_sent", "Bytes", extra.clone()));
        extra.inc_by(9);
        let text = telemetry.encode();
        for line in [
            "antiphon_queue_depth{model=\"tiny\"} 3\n",
            "antiphon_kv_blocks_used{model=\"tiny\"} 6\n",
            "antiphon_preemptions_total{model=\"tiny\"} 7\n",
            "antiphon_bytes_sent_total{model=\"tiny\"} 9\n",
            "antiphon_streams_without_terminal_total{model=\"tiny\"} 0\n",
            "vllm:num_requests_waiting{model_name=\"tiny\"} 3\n",
            "vllm:num_requests_running{model_name=\"tiny\"} 2\n",
            "vllm:kv_cache_usage_perc{model_name=\"tiny\"} 0.75\n",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}
