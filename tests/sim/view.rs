//! What a scheduler shows of itself at one moment.

use std::collections::BTreeMap;
use std::ops::Deref;

use runtime_core::{Position, RequestId, Scheduler, Snapshot, TenantId, TenantSnapshot};

pub(crate) struct View {
    snapshot: Snapshot,
    pub(crate) tenants: BTreeMap<TenantId, TenantSnapshot>,
    /// Of all requests that were open, who waits behind how many.
    pub(crate) waiting: BTreeMap<RequestId, u32>,
}

impl View {
    pub(crate) fn of(scheduler: &Scheduler, open: &[RequestId]) -> Self {
        let position = |&id| match scheduler.position(id) {
            Some(Position::Waiting { ahead }) => Some((id, ahead)),
            Some(Position::Running) | None => None,
        };
        Self {
            snapshot: scheduler.snapshot(),
            tenants: scheduler.tenants().map(|one| (one.tenant, one)).collect(),
            waiting: open.iter().filter_map(position).collect(),
        }
    }

    pub(crate) fn num_preempted_since(&self, before: &Self) -> u64 {
        self.preemptions_total - before.preemptions_total
    }

    /// Blocks charged to a tenant.
    pub(crate) fn blocks_of(&self, id: TenantId) -> u32 {
        self.tenants.get(&id).map_or(0, |one| one.blocks_used)
    }

    /// Whether others pass a tenant.
    pub(crate) fn is_held_back(&self, id: TenantId) -> bool {
        self.tenants.get(&id).is_some_and(|one| one.held_back)
    }
}

impl Deref for View {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}
