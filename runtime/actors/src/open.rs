//! What telemetry remembers of each open request: since when, and how far it has come.
//!
//! The scheduler core owns the truth and says no more of it than plans and updates; this reads
//! both. It decides nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_contract::{StepPlan, TableChange};
use runtime_core::{CancelCause, End, RequestId, Tick, Updates};

use crate::clock::between;
use crate::telemetry::{Phase, RequestMetrics};
use crate::tenancy::{Place, Record};

/// The open requests.
#[derive(Default)]
pub(crate) struct OpenRequests {
    by_id: HashMap<RequestId, Open>,
}

struct Open {
    called: Tick,
    phase: Phase,
    begun: Arc<Begun>,
    tenant: Arc<Record>,
    /// Until its first step is planned.
    place: Option<Place>,
}

/// When the first step of a request was planned: said by the scheduler's thread, and read by the
/// session's.
#[derive(Debug)]
pub(crate) struct Begun(AtomicU64);

impl Begun {
    const NEVER: u64 = u64::MAX;

    /// Of a request that no step has named.
    pub(crate) const fn never() -> Self {
        Self(AtomicU64::new(Self::NEVER))
    }

    /// The moment, if there was one.
    pub(crate) fn at(&self) -> Option<Tick> {
        let at = self.0.load(Ordering::Relaxed);
        (at != Self::NEVER).then_some(Tick(at))
    }

    fn now(&self, now: Tick) {
        self.0.store(now.0, Ordering::Relaxed);
    }
}

impl OpenRequests {
    /// A request was taken; the client called at `called`.
    pub(crate) fn enter(&mut self, id: RequestId, called: Tick, place: Place, begun: Arc<Begun>) {
        let tenant = Arc::clone(place.record());
        let (phase, place) = (Phase::Queued, Some(place));
        self.by_id.insert(id, Open { called, phase, begun, tenant, place });
    }

    /// A plan goes to the engine: who is named for the first time has left the queue.
    pub(crate) fn planned(&mut self, plan: &StepPlan, now: Tick, metrics: &RequestMetrics) {
        for row in &plan.rows {
            // Only a sequence that has just got its seat can be new; its number is its request's.
            let TableChange::Fresh(_) = row.table else { continue };
            let Some(open) = self.by_id.get_mut(&RequestId(row.sequence.0)) else { continue };
            if open.phase == Phase::Queued {
                open.phase = Phase::Prefill;
                open.place = None;
                open.begun.now(now);
                let waited = between(open.called, now);
                metrics.queue.observe_duration(waited);
                open.tenant.metrics.queue.observe_duration(waited);
            }
        }
    }

    /// A request is cancelled from outside; nothing if it is not open any more.
    pub(crate) fn cancelled(&self, id: RequestId, cause: CancelCause, metrics: &RequestMetrics) {
        if let Some(open) = self.by_id.get(&id) {
            tracing::info!(request = id.0, ?cause, phase = ?open.phase, "request cancelled");
            metrics.cancel(cause, open.phase);
        }
    }

    /// Updates go out: first tokens, and ends.
    pub(crate) fn updated(&mut self, updates: &Updates, metrics: &RequestMetrics) {
        for update in &updates.entries {
            // Said once, with the first token.
            if update.num_cached.is_some()
                && let Some(open) = self.by_id.get_mut(&update.id)
            {
                open.phase = Phase::Decode;
            }
            let Some(end) = update.end else { continue };
            // The deadline of a drain cancels inside the core, so it is met only here.
            if end == End::Cancelled(CancelCause::Drain) {
                self.cancelled(update.id, CancelCause::Drain, metrics);
            }
            self.by_id.remove(&update.id);
        }
    }
}
