//! What steps take: time, rows, tokens, and the time that the engine waited for the host.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use engine_contract::StepPlan;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use runtime_core::Tick;

use super::histogram::Histogram;
use crate::clock::between;

/// Counters and histograms of steps.
#[derive(Debug)]
pub(crate) struct StepMetrics {
    duration: Histogram,
    rows: Histogram,
    tokens: Histogram,
    idle: Counter<f64, AtomicU64>,
    /// Engines built again after a failure.
    pub(crate) restarts: Counter,
}

/// When a step could have begun, began and ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepTiming {
    /// When what made the step plannable happened: a request's submission, or the end of the step
    /// before.
    pub(crate) runnable: Tick,
    /// When the step before it ended; zero for an engine's first.
    pub(crate) before_ended: Tick,
    /// When the engine was told to begin it.
    pub(crate) launched: Tick,
    /// When its result was there.
    pub(crate) ended: Tick,
    /// From the end of the step before to its begin, as the device has it.
    pub(crate) gap: Duration,
}

impl StepTiming {
    /// A step launched while the one before it runs begins when that one ends.
    fn began(&self) -> Tick {
        self.launched.max(self.before_ended)
    }

    /// How long the engine worked on it.
    pub(crate) fn duration(&self) -> Duration {
        between(self.began(), self.ended)
    }

    /// How long the device had nothing to do although this step could have run: its gap, less the
    /// time after the end of the step before in which nothing was runnable. The gap is the device's
    /// own measure; only that time is by the host's clock.
    fn idle(&self) -> Duration {
        self.gap.saturating_sub(between(self.before_ended, self.runnable))
    }
}

impl Default for StepMetrics {
    fn default() -> Self {
        Self {
            duration: Histogram::of_seconds(STEP_MICROS),
            rows: Histogram::of_counts(ROWS),
            tokens: Histogram::of_counts(TOKENS),
            idle: Counter::default(),
            restarts: Counter::default(),
        }
    }
}

impl StepMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let r = registry;
        r.register("step_seconds", "Time that the engine works on a step", self.duration.clone());
        r.register("step_rows", "Rows in a step", self.rows.clone());
        r.register("step_tokens", "Positions that a step computes", self.tokens.clone());
        let help = "Time between the end of a step and the begin of the next, by the device's own \
                    measure, less what of it no work was runnable in";
        r.register("engine_idle_seconds", help, self.idle.clone());
        r.register("engine_restarts", "Engines built after a failure", self.restarts.clone());
    }

    /// Counts what a plan holds.
    pub(crate) fn plan(&self, plan: &StepPlan) {
        self.rows.observe(plan.rows.len() as u64);
        self.tokens.observe(plan.num_tokens() as u64);
    }

    /// Counts what a step took.
    pub(crate) fn complete(&self, timing: &StepTiming) {
        self.duration.observe_duration(timing.duration());
        self.idle.inc_by(timing.idle().as_secs_f64());
    }
}

/// From a decode step of a small model on a GPU to a long prefill on a CPU.
const STEP_MICROS: &[u64] = &[
    500, 1_000, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000, 20_000, 30_000, 50_000, 75_000,
    100_000, 150_000, 250_000, 500_000, 1_000_000, 5_000_000,
];

/// Batch sizes, by powers of two.
const ROWS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];

/// Positions in a step, by powers of two.
const TOKENS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_idles_only_while_work_is_runnable() {
        let timing = |runnable, launched, gap| StepTiming {
            runnable: Tick(runnable),
            before_ended: Tick(500),
            launched: Tick(launched),
            ended: Tick(1_000),
            gap: Duration::from_micros(gap),
        };
        // Launched while the step before ran: what gap there is, is the device's own.
        assert_eq!(timing(100, 120, 0).idle(), Duration::ZERO);
        assert_eq!(timing(100, 120, 3).idle(), Duration::from_micros(3));
        assert_eq!(timing(100, 120, 3).duration(), Duration::from_micros(500));
        // Planned because the step before ended at 500.
        assert_eq!(timing(500, 530, 42).idle(), Duration::from_micros(42));
        // Nothing to do until a request came at 700.
        assert_eq!(timing(700, 720, 225).idle(), Duration::from_micros(25));
        assert_eq!(timing(700, 720, 225).duration(), Duration::from_micros(280));
        // The host heard late of the end.
        assert_eq!(timing(700, 720, 150).idle(), Duration::ZERO);
    }
}
