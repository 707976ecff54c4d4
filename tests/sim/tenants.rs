//! The tenants of a world: drawn by chance, and as the books keep them.

use runtime_core::{
    Limits, Priority, QueueBound, Rejected, Request, Tenant, TenantId, Tenants, Terms, Tick,
};

use crate::client::Client;
use crate::rng::Rng;
use crate::script::Temper;

/// A tenant that no table has.
const NOBODY: TenantId = TenantId(99);

/// The tables that a world's scheduler has been given.
pub(crate) struct Tables {
    /// Everybody who was ever listed, as of when they were last.
    pub(crate) known: Vec<Tenant>,
    /// Those of the latest table.
    listed: Vec<TenantId>,
    /// The least weight that each of `known` ever had.
    least_weights: Vec<u32>,
    /// Whether somebody was ever taken out of a table.
    pub(crate) has_removed: bool,
    pub(crate) num_reloads: u32,
}

impl Tables {
    pub(crate) fn new(tenants: &Tenants) -> Self {
        let mut tables = Self {
            known: Vec::new(),
            listed: Vec::new(),
            least_weights: Vec::new(),
            has_removed: false,
            num_reloads: 0,
        };
        tables.list(tenants);
        tables
    }

    pub(crate) fn reload(&mut self, tenants: &Tenants) {
        self.num_reloads += 1;
        self.list(tenants);
    }

    /// Whether everything belongs to one tenant without bounds, and always has.
    pub(crate) fn is_plain(&self) -> bool {
        self.num_reloads == 0 && self.known == [Tenant::unbounded(TenantId(0))]
    }

    pub(crate) fn get(&self, id: TenantId) -> &Tenant {
        let found = self.known.iter().find(|tenant| tenant.id == id);
        found.expect("requests of strangers are not taken")
    }

    pub(crate) fn least_weight(&self, id: TenantId) -> u32 {
        let index = self.known.iter().position(|tenant| tenant.id == id);
        self.least_weights[index.expect("a known tenant")]
    }

    /// Most blocks of a tenant.
    pub(crate) fn blocks_max(&self, id: TenantId, limits: &Limits) -> u32 {
        (limits.num_blocks * self.get(id).kv_per_mille / 1_000).max(1)
    }

    /// What `submit` has to say on a tenant's behalf, but for when to come back.
    pub(crate) fn expected_verdict(
        &self,
        request: &Request,
        limits: &Limits,
        clients: &[Client],
    ) -> Result<(), Rejected> {
        let (id, prompt) = (request.terms.tenant, request.prompt.len() as u32);
        if !self.listed.contains(&id) {
            return Err(Rejected::UnknownTenant(id));
        }
        let tenant = self.get(id);
        let capacity = self.blocks_max(id, limits) * limits.block_size;
        let own = clients.iter().filter(|client| client.is_waiting() && client.tenant() == id);
        let waiting = own.clone().count() as u32;
        let num_tokens: u64 = own.map(|client| client.request.prompt.len() as u64).sum();
        let retry_after_us = None;
        let is_long = num_tokens + u64::from(prompt) > tenant.waiting_tokens_max;
        if prompt > capacity {
            Err(Rejected::ExceedsShare { prompt, capacity })
        } else if waiting >= tenant.waiting_max {
            let bound = QueueBound::Requests(tenant.waiting_max);
            Err(Rejected::TenantQueueFull { waiting, bound, retry_after_us })
        } else if waiting > 0 && is_long {
            let bound = QueueBound::Tokens(tenant.waiting_tokens_max);
            Err(Rejected::TenantQueueFull { waiting, bound, retry_after_us })
        } else {
            Ok(())
        }
    }

    fn list(&mut self, tenants: &Tenants) {
        let listed: Vec<_> = tenants.iter().map(|tenant| tenant.id).collect();
        self.has_removed |= self.listed.iter().any(|id| !listed.contains(id));
        for tenant in tenants.iter() {
            match self.known.iter().position(|known| known.id == tenant.id) {
                None => {
                    self.known.push(*tenant);
                    self.least_weights.push(tenant.weight);
                }
                Some(index) => {
                    self.known[index] = *tenant;
                    let least = self.least_weights[index].min(tenant.weight);
                    self.least_weights[index] = least;
                }
            }
        }
        self.listed = listed;
    }
}

/// One tenant without bounds, or a few of all kinds.
pub(crate) fn draw_tenants(rng: &mut Rng) -> Tenants {
    if rng.chance(300) {
        return Tenants::default();
    }
    let ids = (0..4).filter(|&id| id == 0 || rng.chance(600)).collect::<Vec<_>>();
    let table = ids.into_iter().map(|id| Tenant {
        id: TenantId(id),
        weight: *rng.pick(&[1, 1, 2, 3, 50]),
        priority_max: Priority(*rng.pick(&[0, 2, u8::MAX])),
        running_max: *rng.pick(&[1, 2, u32::MAX, u32::MAX]),
        waiting_max: *rng.pick(&[2, u32::MAX, u32::MAX, u32::MAX]),
        waiting_tokens_max: *rng.pick(&[40, u64::MAX, u64::MAX, u64::MAX]),
        kv_per_mille: *rng.pick(&[400, 700, 1_000, 1_000, 1_000]),
    });
    Tenants::new(table.collect::<Vec<_>>()).expect("every number is in its range")
}

/// Whose a request is and when it must be done; most are of the first tenant, who floods others.
pub(crate) fn draw_terms(rng: &mut Rng, tables: &Tables, temper: &Temper, now: Tick) -> Terms {
    if tables.is_plain() {
        return Terms::default();
    }
    let ids: Vec<_> = tables.known.iter().map(|tenant| tenant.id).collect();
    let mut tenant = if rng.chance(500) { ids[0] } else { *rng.pick(&ids) };
    if rng.chance(20) {
        tenant = NOBODY;
    }
    let mut within = |most| {
        let delay = u64::from(rng.between(0..=most));
        rng.chance(temper.deadline).then(|| Tick(now.0 + delay))
    };
    let (queue_deadline, deadline) = (within(200), within(500));
    let priority = Priority(*rng.pick(&[0, 0, 0, 1, 3]));
    Terms { tenant, priority, queue_deadline, deadline }
}
