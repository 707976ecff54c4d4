//! A histogram that is observed without a lock, because the per-token path observes it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::clock::micros;

/// Counts observations by bucket. Values are whole numbers of `1 / scale`; copies share their
/// counts.
///
/// A scrape that runs beside an observation may see it in the bucket and not yet in the sum.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Inclusive upper bounds, ascending.
    bounds: &'static [u64],
    /// One count per bound, and one for everything above.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
    /// How many of the observed unit make one of the exposed unit.
    scale: f64,
}

impl Histogram {
    /// Durations, exposed in seconds; `bounds` are in microseconds.
    pub(crate) fn of_seconds(bounds: &'static [u64]) -> Self {
        Self::new(bounds, 1e6)
    }

    /// Plain numbers.
    pub(crate) fn of_counts(bounds: &'static [u64]) -> Self {
        Self::new(bounds, 1.0)
    }

    fn new(bounds: &'static [u64], scale: f64) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { inner: Arc::new(Inner { bounds, counts, sum: AtomicU64::new(0), scale }) }
    }

    /// Counts one duration.
    pub(crate) fn observe_duration(&self, duration: Duration) {
        self.observe(micros(duration));
    }

    /// Counts one value.
    pub(crate) fn observe(&self, value: u64) {
        let bucket = self.inner.bounds.partition_point(|bound| *bound < value);
        self.inner.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.inner.sum.fetch_add(value, Ordering::Relaxed);
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let inner = &*self.inner;
        let bounds = inner.bounds.iter().map(|bound| *bound as f64 / inner.scale);
        let counts = inner.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = inner.sum.load(Ordering::Relaxed) as f64 / inner.scale;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_bound_is_inclusive_and_what_is_above_all_is_counted() {
        let histogram = Histogram::of_seconds(&[1_000, 2_000_000]);
        for micros in [1, 1_000, 1_001, 3_000_000] {
            histogram.observe_duration(Duration::from_micros(micros));
        }
        let mut registry = Registry::default();
        registry.register("wait_seconds", "Waiting", histogram);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "wait_seconds_bucket{le=\"0.001\"} 2\n",
            "wait_seconds_bucket{le=\"2.0\"} 3\n",
            "wait_seconds_bucket{le=\"+Inf\"} 4\n",
            "wait_seconds_count 4\n",
            "wait_seconds_sum 3.002002\n",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}
