//! What requests go through: how they end, how long they wait, how many tokens they take.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use runtime_core::CancelCause;

use super::histogram::Histogram;
use crate::{Failure, FinishReason, RateLimit, Refused};

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Counters and histograms of requests.
#[derive(Debug)]
pub(crate) struct RequestMetrics {
    ended: Family<Labels<1>, Counter>,
    refused: Family<Labels<1>, Counter>,
    cancelled: Family<Labels<2>, Counter>,
    /// Tokens of the prompts that were submitted.
    pub(crate) prompt_tokens: Counter,
    /// Tokens generated and delivered to sessions.
    pub(crate) output_tokens: Counter,
    /// Streams whose reader is still there.
    pub(crate) streams_open: Gauge,
    /// Streams whose session vanished before it said how they end. A bug if not zero.
    pub(crate) without_terminal: Counter,
    /// From the call to the first step that computes for it.
    pub(crate) queue: Histogram,
    /// From the call to the first token.
    pub(crate) ttft: Histogram,
    /// From one delivery of tokens to the next.
    pub(crate) itl: Histogram,
    /// From the call to the end.
    pub(crate) whole: Histogram,
}

/// How far a request had come, in the scheduler's eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has tokens.
    Decode,
    /// A step computes its prompt, or has.
    Prefill,
    /// No step has named it.
    Queued,
}

/// How a request ended, in the client's eyes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// The client went away.
    Disconnected,
    /// The output ends without being complete.
    Failed(Failure),
    /// The output is complete.
    Finished(FinishReason),
}

impl Default for RequestMetrics {
    fn default() -> Self {
        Self {
            ended: Family::default(),
            refused: Family::default(),
            cancelled: Family::default(),
            prompt_tokens: Counter::default(),
            output_tokens: Counter::default(),
            streams_open: Gauge::default(),
            without_terminal: Counter::default(),
            queue: Histogram::of_seconds(WAIT_MICROS),
            ttft: Histogram::of_seconds(WAIT_MICROS),
            itl: Histogram::of_seconds(ITL_MICROS),
            whole: Histogram::of_seconds(WAIT_MICROS),
        }
    }
}

impl RequestMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let r = registry;
        r.register("requests", "Requests that ended, by outcome", self.ended.clone());
        r.register("requests_refused", "Requests not taken, by reason", self.refused.clone());
        let help = "Requests cancelled from outside, by cause and phase";
        r.register("cancellations", help, self.cancelled.clone());
        r.register("prompt_tokens", "Tokens of submitted prompts", self.prompt_tokens.clone());
        r.register("output_tokens", "Tokens generated", self.output_tokens.clone());
        let help = "Streams whose reader is still there";
        r.register("streams_open", help, self.streams_open.clone());
        let help = "Streams that no end was said to; a bug if not zero";
        r.register("streams_without_terminal", help, self.without_terminal.clone());
        r.register("queue_seconds", "From the call to the first step", self.queue.clone());
        r.register("ttft_seconds", "From the call to the first token", self.ttft.clone());
        r.register("itl_seconds", "From one delivery of tokens to the next", self.itl.clone());
        r.register("request_seconds", "From the call to the end", self.whole.clone());
    }

    /// Counts the end of a request.
    pub(crate) fn end(&self, outcome: Outcome) {
        self.ended.get_or_create(&[("outcome", outcome.name())]).inc();
    }

    /// Counts a request that was not taken.
    pub(crate) fn refuse(&self, refused: &Refused) {
        self.refused.get_or_create(&[("reason", reason(refused))]).inc();
    }

    /// Counts a cancellation.
    pub(crate) fn cancel(&self, cause: CancelCause, phase: Phase) {
        let cause = match cause {
            CancelCause::Disconnect => "disconnect",
            CancelCause::Drain => "drain",
            CancelCause::Stall => "stall",
            CancelCause::StopString => "stop_string",
        };
        let phase = match phase {
            Phase::Decode => "decode",
            Phase::Prefill => "prefill",
            Phase::Queued => "queued",
        };
        self.cancelled.get_or_create(&[("cause", cause), ("phase", phase)]).inc();
    }
}

impl Outcome {
    /// One word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Failed(Failure::DeadlinePassed) => "deadline_passed",
            Self::Failed(Failure::Draining) => "drained",
            Self::Failed(Failure::Engine) => "engine_failed",
            Self::Failed(Failure::NotFinite) => "not_finite",
            Self::Failed(Failure::Stalled) => "stalled",
            Self::Finished(FinishReason::Length) => "length",
            Self::Finished(FinishReason::Stop) => "stop",
            Self::Finished(FinishReason::Timeout) => "timeout",
        }
    }
}

/// Why a request was not taken, in one word.
pub(super) const fn reason(refused: &Refused) -> &'static str {
    match refused {
        Refused::NoChatTemplate => "no_chat_template",
        Refused::RateLimited { limit: RateLimit::Requests, .. } => "requests_per_minute",
        Refused::RateLimited { limit: RateLimit::Tokens, .. } => "tokens_per_minute",
        Refused::Rejected(rejected) => rejected.name(),
        Refused::Template(_) => "template",
        Refused::Unavailable => "unavailable",
        Refused::UnknownCaller => "unknown_caller",
        Refused::UnknownToken { .. } => "unknown_token",
    }
}

/// From an idle GPU's first token to a long queue on a small machine.
pub(super) const WAIT_MICROS: &[u64] = &[
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
];

/// From a small model on a GPU to a large one on a CPU; finest where readers notice.
const ITL_MICROS: &[u64] = &[
    1_000, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000, 20_000, 30_000, 50_000, 75_000, 100_000,
    150_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000,
];
