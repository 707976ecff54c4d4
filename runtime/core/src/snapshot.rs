//! What can be seen of a scheduler from outside, for metrics and for those who wait.

use crate::roster::Member;
use crate::sequence::Place;
use crate::{Costs, Counter, RequestId, Scheduler, TenantId};

/// Counts for metrics, taken at one moment. Totals count from the scheduler's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests waiting for a seat, preempted ones included.
    pub waiting: u32,
    /// Requests with a seat.
    pub running: u32,
    /// Steps planned and not completed.
    pub in_flight: u32,
    /// Blocks in the pool.
    pub blocks_total: u32,
    /// Blocks that sequences hold, or that a step in flight may still touch.
    pub blocks_used: u32,
    /// Blocks that nobody holds but the prefix index; free for the taking.
    pub blocks_cached: u32,
    /// Prompt tokens waiting.
    pub waiting_tokens: u64,
    /// How long until the next request leaves the queue, at the pace of the last seconds; `None`
    /// if none has left it lately.
    pub retry_after_us: Option<u64>,
    /// Requests offered, refused ones included.
    pub submitted_total: u64,
    /// Requests refused.
    pub rejected_total: u64,
    /// Requests that ran to their own end.
    pub finished_total: u64,
    /// Requests cancelled from outside.
    pub cancelled_total: u64,
    /// Requests that a deadline of their own ended.
    pub expired_total: u64,
    /// Requests that failed, with the engine or by themselves.
    pub failed_total: u64,
    /// Tokens generated for requests.
    pub tokens_total: u64,
    /// Steps planned.
    pub steps_total: u64,
    /// Sequences preempted.
    pub preemptions_total: u64,
    /// Prompt tokens looked up in the prefix index.
    pub prefix_queried_total: u64,
    /// Prompt tokens found there.
    pub prefix_hit_total: u64,
    /// What tokens cost the counter of their tenant now.
    pub costs: Costs,
    /// How far apart the counters of tenants are of whom somebody waits, but for those held back
    /// by bounds of their own.
    pub service_gap: Counter,
    /// The largest that it has been at the end of a plan.
    pub service_gap_max: Counter,
    /// Whether new requests are refused.
    pub draining: bool,
}

/// What a tenant has and has had, taken at one moment. Totals count from when it was first listed,
/// or listed again after it was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantSnapshot {
    /// Whose.
    pub tenant: TenantId,
    /// Requests waiting, preempted ones included.
    pub waiting: u32,
    /// Prompt tokens waiting.
    pub waiting_tokens: u64,
    /// Requests with a seat, and requests that have ended while a step in flight names them.
    pub seats: u32,
    /// Blocks charged to it.
    pub blocks_used: u32,
    /// Prompt tokens computed, each once.
    pub prefill_total: u64,
    /// Prompt tokens found in the prefix cache.
    pub cached_total: u64,
    /// Tokens generated.
    pub output_total: u64,
    /// Its virtual token counter.
    pub counter: Counter,
    /// How far it is behind the most served tenant of whom somebody waits; zero if nobody of its
    /// own does.
    pub lag: Counter,
    /// Whether others pass it because it is at a bound of its own.
    pub held_back: bool,
}

/// Where an open request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// It has a seat.
    Running,
    /// It waits.
    Waiting {
        /// Requests of its tenant in front of it.
        ahead: u32,
    },
}

impl Scheduler {
    /// Counts for metrics.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let (pool, sums, roster) = (&self.kv.pool, &self.ledger.sums, &self.roster);
        Snapshot {
            waiting: roster.num_waiting(),
            running: self.ledger.num_open() - roster.num_waiting(),
            in_flight: self.in_flight.len() as u32,
            blocks_total: pool.num_blocks(),
            blocks_used: pool.num_used(),
            blocks_cached: pool.num_cached(),
            waiting_tokens: roster.num_waiting_tokens(),
            retry_after_us: roster.departures().requests.time_for(1, self.now),
            submitted_total: sums.submitted,
            rejected_total: sums.rejected,
            finished_total: sums.finished,
            cancelled_total: sums.cancelled,
            expired_total: sums.expired,
            failed_total: sums.failed,
            tokens_total: sums.tokens,
            steps_total: self.in_flight.num_planned(),
            preemptions_total: self.preemptions_total,
            prefix_queried_total: self.prefix_queried_total,
            prefix_hit_total: self.prefix_hit_total,
            costs: self.prices.costs,
            service_gap: roster.gap(),
            service_gap_max: roster.gap_max(),
            draining: self.drain_deadline.is_some(),
        }
    }

    /// Every tenant that is in the table or has a request left, in no order.
    pub fn tenants(&self) -> impl Iterator<Item = TenantSnapshot> {
        let contenders = self.roster.contenders().map(|key| self.roster[key].counter());
        let most = contenders.max().unwrap_or_default();
        self.roster.iter().map(move |(key, member)| TenantSnapshot {
            tenant: member.tenant.id,
            waiting: member.line.len(),
            waiting_tokens: member.line.num_tokens(),
            seats: member.num_seats,
            blocks_used: self.num_blocks_of(key),
            prefill_total: member.sums.prefill,
            cached_total: member.sums.cached,
            output_total: member.sums.output,
            counter: member.counter(),
            lag: lag(member, most),
            held_back: member.is_held_back,
        })
    }

    /// Where a request stands; `None` if it is not open.
    #[must_use]
    pub fn position(&self, id: RequestId) -> Option<Position> {
        let sequence = &self.sequences[self.ledger.find(id)?];
        Some(match sequence.place {
            Place::Closed | Place::Ending | Place::Running => Position::Running,
            Place::Preempted | Place::Waiting => {
                let line = &self.roster[sequence.tenant].line;
                Position::Waiting { ahead: line.num_before(sequence.order()) }
            }
        })
    }
}

fn lag(member: &Member, most: Counter) -> Counter {
    match member.line.len() {
        0 => Counter(0),
        _ => Counter(most.0.saturating_sub(member.counter().0)),
    }
}
