//! The loop: arrivals and ends of steps in the order of virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use engine_contract::{Outcome, Sampled, Sampling, StepOutput, StepPlan, TokenId};
use engine_sim::CostModel;
use runtime_core::{
    End, Limits, PrefixCache, Request, RequestId, Scheduler, Tenant, TenantId, Tenants, Terms,
    Tick, Updates,
};

use crate::Trace;
use crate::histogram::Histogram;
use crate::report::Report;
use crate::trace::Arrival;

/// What serves a trace.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The scheduler's. Prefixes are not shared, since a trace has no text.
    pub limits: Limits,
    /// What steps take.
    pub costs: CostModel,
    /// Whether tenants count.
    pub order: Order,
    /// What a request must have had to count as well served.
    pub slo: Slo,
    /// The terms of tenants, by name; who has none here has the trace's weight and no bounds.
    /// Without meaning first in, first out.
    pub tenants: BTreeMap<String, Served>,
}

/// How a tenant is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Its share and its bounds, whatever its id.
    pub tenant: Tenant,
    /// Longest that its requests may wait for their first step, in microseconds.
    pub queue_us: Option<u64>,
    /// Longest that they may take, in microseconds.
    pub whole_us: Option<u64>,
}

/// In which order requests are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Fairly between tenants, by weight.
    Fair,
    /// As they arrive, whosever they are.
    Fifo,
}

/// What a request must have had to count as well served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slo {
    /// Longest time to its first token.
    pub ttft_us: u64,
    /// Longest mean time between its tokens.
    pub itl_us: u64,
}

/// What has come of one request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Record {
    pub(crate) first_us: Option<u64>,
    pub(crate) last_us: u64,
    pub(crate) num_tokens: u32,
    pub(crate) has_finished: bool,
}

/// All that is known when the trace is over.
pub(crate) struct Outcomes {
    pub(crate) records: Vec<Record>,
    /// By tenant.
    pub(crate) itl: Vec<Histogram>,
    pub(crate) refused: BTreeMap<&'static str, u64>,
    pub(crate) busy_us: u64,
    pub(crate) ends_us: u64,
}

struct World<'a> {
    trace: &'a Trace,
    setting: &'a Setting,
    /// By tenant of the trace.
    served: Vec<Served>,
    scheduler: Scheduler,
    in_flight: VecDeque<Flight>,
    /// The next arrival.
    next: usize,
    /// When the last step planned ends.
    free_us: u64,
    updates: Updates,
    sampling: Arc<Sampling>,
    outcomes: Outcomes,
}

/// A step that is planned.
struct Flight {
    output: StepOutput,
    took_us: u64,
    ends_us: u64,
}

/// Serves a trace to its end.
///
/// # Panics
/// If the setting's limits are none that a scheduler takes, or a law of the scheduler is broken.
#[must_use]
pub fn run(trace: &Trace, setting: &Setting) -> Report {
    let mut world = World::new(trace, setting);
    while let Some(now) = world.next_event() {
        world.event(now);
    }
    let snapshot = world.scheduler.snapshot();
    Report::new(trace, setting, &world.outcomes, &snapshot)
}

impl<'a> World<'a> {
    fn new(trace: &'a Trace, setting: &'a Setting) -> Self {
        let limits = Limits { prefix_cache: PrefixCache::Off, ..setting.limits };
        let mut scheduler = Scheduler::new(limits);
        let served = served(trace, setting);
        if setting.order == Order::Fair {
            let table = Tenants::new(served.iter().map(|served| served.tenant));
            scheduler.set_tenants(&table.expect("tenants of right weights and bounds"));
        }
        let outcomes = Outcomes {
            records: vec![Record::default(); trace.arrivals.len()],
            itl: vec![Histogram::default(); trace.tenants.len()],
            refused: BTreeMap::new(),
            busy_us: 0,
            ends_us: 0,
        };
        Self {
            trace,
            setting,
            served,
            scheduler,
            in_flight: VecDeque::new(),
            next: 0,
            free_us: 0,
            updates: Updates::default(),
            sampling: Arc::new(Sampling::GREEDY),
            outcomes,
        }
    }

    /// When something happens next.
    fn next_event(&self) -> Option<u64> {
        let arrival = self.trace.arrivals.get(self.next).map(|arrival| arrival.at_us);
        let end = self.in_flight.front().map(|flight| flight.ends_us);
        arrival.into_iter().chain(end).min()
    }

    fn event(&mut self, now: u64) {
        self.outcomes.ends_us = now;
        match self.in_flight.pop_front_if(|flight| flight.ends_us <= now) {
            Some(flight) => {
                self.scheduler.measure(flight.took_us);
                self.scheduler.complete(&flight.output, Tick(now));
            }
            None => self.submit(now),
        }
        while let Some(plan) = self.scheduler.plan(Tick(now)) {
            self.launch(&plan, now);
        }
        self.hear(now);
    }

    fn submit(&mut self, now: u64) {
        let index = self.next;
        self.next += 1;
        let Arrival { tenant, prompt, output, .. } = self.trace.arrivals[index];
        let Served { tenant, queue_us, whole_us } = self.served[tenant as usize];
        let after = |us: Option<u64>| us.map(|us| Tick(now.saturating_add(us)));
        let terms = Terms {
            tenant: tenant.id,
            queue_deadline: after(queue_us),
            deadline: after(whole_us),
            ..Terms::default()
        };
        let request = Request {
            id: RequestId(index as u64),
            prompt: vec![TokenId(0); prompt as usize].into(),
            max_tokens: output,
            min_tokens: 0,
            stop_tokens: Arc::new([]),
            sampling: Arc::clone(&self.sampling),
            salt: 0,
            terms,
        };
        if let Err(rejected) = self.scheduler.submit(request, Tick(now)) {
            *self.outcomes.refused.entry(rejected.name()).or_default() += 1;
        }
    }

    fn launch(&mut self, plan: &StepPlan, now: u64) {
        let took = self.setting.costs.time(plan);
        let took_us = (took.as_micros() as u64).max(1);
        self.free_us = self.free_us.max(now) + took_us;
        self.outcomes.busy_us += took_us;
        let rows = plan.rows.iter().filter(|row| row.sample.is_some());
        let token = Outcome::Token(TokenId(0));
        let sampled = rows.map(|row| Sampled::bare(row.sequence, token)).collect();
        let output = StepOutput { step: plan.step, sampled, gap: Duration::ZERO };
        self.in_flight.push_back(Flight { output, took_us, ends_us: self.free_us });
    }

    fn hear(&mut self, now: u64) {
        self.scheduler.poll_updates(&mut self.updates);
        for update in &self.updates.entries {
            let index = update.id.0 as usize;
            let record = &mut self.outcomes.records[index];
            for _ in update.tokens.clone() {
                match record.first_us {
                    None => record.first_us = Some(now),
                    Some(_) => {
                        let tenant = self.trace.arrivals[index].tenant as usize;
                        self.outcomes.itl[tenant].add(now - record.last_us);
                    }
                }
                record.last_us = now;
                record.num_tokens += 1;
            }
            record.has_finished |= matches!(update.end, Some(End::Finished(_)));
        }
    }
}

/// The terms of each of the trace's tenants.
fn served(trace: &Trace, setting: &Setting) -> Vec<Served> {
    let one = |(id, (name, weight)): (u32, &(String, u32))| {
        let unbounded = Tenant { weight: *weight, ..Tenant::unbounded(TenantId(id)) };
        let open = Served { tenant: unbounded, queue_us: None, whole_us: None };
        match (setting.order, setting.tenants.get(name)) {
            (Order::Fifo, _) => Served { tenant: Tenant::unbounded(TenantId::default()), ..open },
            (Order::Fair, None) => open,
            (Order::Fair, Some(served)) => {
                Served { tenant: Tenant { id: TenantId(id), ..served.tenant }, ..*served }
            }
        }
    };
    (0..).zip(&trace.tenants).map(one).collect()
}

#[cfg(test)]
mod tests;
