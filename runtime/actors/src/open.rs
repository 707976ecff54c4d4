//! What telemetry remembers of each open request: since when, and how far it has come.
//!
//! The scheduler core owns the truth and says no more of it than plans and updates; this reads
//! both. It decides nothing.

use std::collections::HashMap;

use engine_contract::{StepPlan, TableChange};
use runtime_core::{CancelCause, End, RequestId, Tick, Updates};

use crate::clock::between;
use crate::telemetry::{Phase, RequestMetrics};

/// The open requests.
#[derive(Default)]
pub(crate) struct OpenRequests {
    by_id: HashMap<RequestId, Open>,
}

struct Open {
    called: Tick,
    phase: Phase,
}

impl OpenRequests {
    /// A request was taken; the client called at `called`.
    pub(crate) fn enter(&mut self, id: RequestId, called: Tick) {
        self.by_id.insert(id, Open { called, phase: Phase::Queued });
    }

    /// A plan goes to the engine: who is named for the first time has left the queue.
    pub(crate) fn planned(&mut self, plan: &StepPlan, now: Tick, metrics: &RequestMetrics) {
        for row in &plan.rows {
            // Only a sequence that has just got its seat can be new; its number is its request's.
            let TableChange::Fresh(_) = row.table else { continue };
            let Some(open) = self.by_id.get_mut(&RequestId(row.sequence.0)) else { continue };
            if open.phase == Phase::Queued {
                open.phase = Phase::Prefill;
                metrics.queue.observe_duration(between(open.called, now));
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
