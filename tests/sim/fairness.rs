//! The laws of fairness, from the books' own count of what each tenant was served.
//!
//! Let a tenant's *service* be the cost of its prompt tokens, each once and cached ones not at all,
//! and of its sampled tokens, divided by its weight. A tenant *contends* while somebody of it waits
//! and no bound of its own holds it back. Somebody is only ever admitted of the contender with the
//! least counter, and what runs of a tenant can take no more than `B`, the rows of a step times the
//! dearest request, by weight. So, as for the paper's VTC (Sheng et al., OSDI 2024, theorem 4.4;
//! there with `max(w_p L, w_q M)` for `B`, since a prompt is taken as a whole and `M` bounds the
//! batch):
//!
//! * the counters of two that contend are never more than `B` apart;
//! * over any time in which two contend, their services differ by no more than `2 B`.

use std::collections::BTreeMap;

use runtime_core::{Counter, Limits, Request, TenantId, TenantSnapshot};

use crate::script::costs_max;
use crate::tenants::Tables;

/// Services by tenant, in [`Counter::UNIT`]ths.
#[derive(Default)]
pub(crate) struct Fairness {
    served: BTreeMap<TenantId, u128>,
    /// The dearest request of each tenant.
    dearest: BTreeMap<TenantId, u64>,
    /// For two that have contended for a while, the extremes of the difference of their services.
    pairs: BTreeMap<(TenantId, TenantId), (i128, i128)>,
    /// The most that was seen of the second law's bound, in per mille.
    pub(crate) nearest: u32,
}

impl Fairness {
    pub(crate) fn taken(&mut self, request: &Request, output_max: u32, limits: &Limits) {
        let costs = costs_max(limits);
        let cost = u64::from(costs.prefill) * request.prompt.len() as u64
            + u64::from(costs.output) * u64::from(output_max);
        let dearest = self.dearest.entry(request.terms.tenant).or_default();
        *dearest = cost.max(*dearest);
    }

    pub(crate) fn charge(&mut self, tenant: TenantId, cost: u64, weight: u32) {
        let served = u128::from(cost) * Counter::UNIT / u128::from(weight);
        *self.served.entry(tenant).or_default() += served;
    }

    /// Both laws, as things stand.
    pub(crate) fn check(&mut self, tenants: &[TenantSnapshot], tables: &Tables, limits: &Limits) {
        let contends = |one: &&TenantSnapshot| one.waiting > 0 && !one.held_back;
        let contenders: Vec<_> = tenants.iter().filter(contends).collect();
        let bound = self.bound(tables, limits);
        let mut pairs = BTreeMap::new();
        for (index, one) in contenders.iter().enumerate() {
            for other in &contenders[index + 1..] {
                let apart = one.counter.0.abs_diff(other.counter.0);
                let ids = (one.tenant, other.tenant);
                assert!(apart <= bound, "law 13: {ids:?} are {apart} apart of {bound}");
                let service = |id| self.served.get(id).copied().unwrap_or(0) as i128;
                let now = service(&one.tenant) - service(&other.tenant);
                let (low, high) = self.pairs.get(&ids).copied().unwrap_or((now, now));
                let (low, high) = (low.min(now), high.max(now));
                let range = (high - low).unsigned_abs();
                assert!(range <= 2 * bound, "law 13: services of {ids:?} differ by {range}");
                self.nearest = self.nearest.max((range * 1_000 / (2 * bound)) as u32);
                pairs.insert(ids, (low, high));
            }
        }
        self.pairs = pairs;
    }

    /// `B`, of the tenant whose `B` is largest.
    fn bound(&self, tables: &Tables, limits: &Limits) -> u128 {
        let of = |(id, dearest): (&TenantId, &u64)| {
            let cost = u128::from(*dearest) * u128::from(limits.rows_max);
            cost * Counter::UNIT / u128::from(tables.least_weight(*id)) + 1
        };
        self.dearest.iter().map(of).max().unwrap_or(1)
    }
}
