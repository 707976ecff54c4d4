//! What is kept of a tenant while it is served: its terms, its meters, its metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use runtime_core::{QueueBound, Rejected, TenantId, Tick};

use super::meter::{Meter, Reading};
use super::tenant::{Rates, Tenant};
use crate::clock::Clock;
use crate::telemetry::TenantMetrics;
use crate::{RateLimit, Refused};

/// A tenant under the terms of one table.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) tenant: Tenant,
    pub(crate) record: Arc<Record>,
}

/// What outlives the table: a tenant that comes back finds it as it was.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: TenantId,
    pub(crate) name: Arc<str>,
    pub(crate) metrics: TenantMetrics,
    meters: Mutex<Meters>,
    /// Requests that are being asked for, or wait for their first step.
    num_places: AtomicU32,
}

#[derive(Debug, Default)]
struct Meters {
    requests: Option<Meter>,
    tokens: Option<Meter>,
}

/// Where a tenant stands with its rates; a rate that it does not have is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Requests a minute.
    pub requests: Option<Reading>,
    /// Tokens a minute.
    pub tokens: Option<Reading>,
}

/// The place of a request until its first step is planned, or it is not to be. Dropped, it is free.
///
/// The scheduler has the true bound on what waits, and says so when it is asked. This one is in
/// front of it, so that a flood is refused before its prompts are turned into tokens.
#[derive(Debug)]
pub(crate) struct Place {
    record: Arc<Record>,
}

/// What one request has taken of its tenant's rates. Dropped, it gives back what was not used.
#[derive(Debug)]
pub(crate) struct Charge {
    record: Arc<Record>,
    clock: Clock,
    state: State,
    num_tokens: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It may still be refused, and has taken nothing then.
    Asked,
    /// It is settled.
    Paid,
    /// It counts.
    Taken,
}

impl Record {
    pub(super) fn new(id: TenantId, name: &str) -> Self {
        let (metrics, meters) = (TenantMetrics::default(), Mutex::default());
        Self { id, name: name.into(), metrics, meters, num_places: AtomicU32::new(0) }
    }

    /// From now on these rates hold. What is used up stays so.
    pub(super) fn set_rates(&self, rates: Rates) {
        let mut meters = self.meters.lock();
        let Meters { requests, tokens } = &mut *meters;
        for (meter, rate) in
            [(requests, rates.requests_per_minute), (tokens, rates.tokens_per_minute)]
        {
            *meter = rate.map(|rate| match *meter {
                Some(meter) => meter.at_rate(rate),
                None => Meter::new(rate),
            });
        }
    }

    pub(crate) fn standing(&self, now: Tick) -> Standing {
        let mut meters = self.meters.lock();
        let Meters { requests, tokens } = &mut *meters;
        let read = |meter: &mut Option<Meter>| meter.as_mut().map(|meter| meter.read(now));
        Standing { requests: read(requests), tokens: read(tokens) }
    }
}

impl Place {
    /// Takes a place, if the tenant has no more of them than may run and wait. `rows_max` is how
    /// many may run of all tenants.
    ///
    /// # Errors
    /// They are all taken.
    pub(crate) fn take(member: &Member, rows_max: u32) -> Result<Self, Refused> {
        let Member { tenant, record } = member;
        let places_max = tenant.waiting_max.saturating_add(tenant.running_max.min(rows_max));
        let waiting = record.num_places.fetch_add(1, Ordering::Relaxed);
        let place = Self { record: Arc::clone(record) };
        if waiting < places_max {
            return Ok(place);
        }
        let bound = QueueBound::Requests(tenant.waiting_max);
        Err(Rejected::TenantQueueFull { waiting, bound, retry_after_us: None }.into())
    }

    /// Whose it is.
    pub(crate) fn record(&self) -> &Arc<Record> {
        &self.record
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.record.num_places.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Charge {
    /// Takes one request.
    ///
    /// # Errors
    /// The tenant has had its requests.
    pub(crate) fn of_request(member: &Member, clock: Clock) -> Result<Self, Refused> {
        let record = Arc::clone(&member.record);
        if let Some(meter) = &mut record.meters.lock().requests {
            take(meter, 1, RateLimit::Requests, clock.now())?;
        }
        Ok(Self { record, clock, state: State::Asked, num_tokens: 0 })
    }

    /// Takes as many tokens as the request may come to.
    ///
    /// # Errors
    /// The tenant has had its tokens.
    pub(crate) fn reserve(&mut self, num_tokens: u64) -> Result<(), Refused> {
        if let Some(meter) = &mut self.record.meters.lock().tokens {
            take(meter, num_tokens, RateLimit::Tokens, self.clock.now())?;
            self.num_tokens = num_tokens;
        }
        Ok(())
    }

    /// The scheduler is asked: from now on it counts as a request, unless it is refused.
    pub(crate) fn submitted(&mut self) {
        self.state = State::Taken;
    }

    /// The scheduler has refused the request.
    pub(crate) fn refused(&mut self) {
        self.state = State::Asked;
    }

    /// The request has ended, and has come to so many tokens.
    pub(crate) fn settle(&mut self, num_tokens: u64) {
        let mut meters = self.record.meters.lock();
        let now = self.clock.now();
        if let (State::Asked, Some(meter)) = (self.state, &mut meters.requests) {
            meter.correct(1, 0, now);
        }
        if let (State::Asked | State::Taken, Some(meter)) = (self.state, &mut meters.tokens) {
            meter.correct(self.num_tokens, num_tokens, now);
        }
        self.state = State::Paid;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.settle(0);
    }
}

fn take(meter: &mut Meter, num: u64, limit: RateLimit, now: Tick) -> Result<(), Refused> {
    let per_minute = meter.read(now).limit;
    let refuse = |retry_after| Refused::RateLimited { limit, per_minute, retry_after };
    meter.take(num, now).map_err(refuse)
}
