//! Who gives up blocks and seats to whom.
//!
//! Two things take from those running. A sequence that needs a block for its next position takes
//! from whoever has the least right to go on: of the tenant with the most service the last in its
//! order. And the head of a tenant that has less than its part of the server takes from a tenant
//! that has more, so that a flood delays others by steps, not by whole outputs. Whoever was
//! admitted first is never taken from. So it ends, and then the next one is first: the work that is
//! lost to preemption is bounded, and everybody ends.

use alloc::vec::Vec;

use engine_contract::Stop;

use crate::arena::Key;
use crate::budget::Draft;
use crate::kv::Owner;
use crate::queue::Turn;
use crate::roster::Member;
use crate::sequence::{Place, Sequence};
use crate::{Counter, Scheduler};

/// What a tenant has and what its weight gives it, in seats or in blocks.
struct Part {
    num_held: u64,
    num_due: u64,
}

impl Scheduler {
    /// How many of `num_tokens` positions there is room for, in the pool and in the tenant's part
    /// of it. If there is none for the first, whoever has less right to go on gives up its blocks:
    /// at once, or when the steps in flight are done with them, and until then it is enough to
    /// wait.
    pub(crate) fn room(&mut self, draft: &mut Draft, key: Key<Sequence>, num_tokens: u32) -> u32 {
        loop {
            let sequence = &self.sequences[key];
            let (in_pool, in_share) = (self.reach_in_pool(sequence), self.reach_in_share(sequence));
            if in_pool > 0 && in_share > 0 {
                return u32::try_from(in_pool.min(in_share)).unwrap_or(u32::MAX).min(num_tokens);
            }
            let tenant = sequence.tenant;
            let (num_leaving, among) = match in_share {
                0 => (self.roster[tenant].num_leaving(), Some(tenant)),
                _ => (self.num_leaving(), None),
            };
            if num_leaving > 0 {
                return 0;
            }
            let Some(victim) = self.victim_of(key, among) else { return 0 };
            self.preempt(draft, victim);
        }
    }

    /// Positions that a sequence could still plan if it got all that is available.
    pub(crate) fn reach_in_pool(&self, sequence: &Sequence) -> u64 {
        self.kv.reach(&sequence.table) - u64::from(sequence.num_planned)
    }

    /// The same of its tenant's part of the pool; no bound for one that is alone in it.
    fn reach_in_share(&self, sequence: &Sequence) -> u64 {
        let member = &self.roster[sequence.tenant];
        if member.num_seats == 1 || member.blocks_max == self.limits.num_blocks {
            return u64::MAX;
        }
        let num_left = member.blocks_max.saturating_sub(self.num_blocks_of(sequence.tenant));
        let num_blocks = u64::from(sequence.table.len()) + u64::from(num_left);
        num_blocks * u64::from(self.limits.block_size) - u64::from(sequence.num_planned)
    }

    /// Who gives way to a running sequence: the last of all but the first admitted, if that is
    /// behind it. The first admitted takes from anybody.
    fn victim_of(&self, key: Key<Sequence>, among: Option<Key<Member>>) -> Option<Key<Sequence>> {
        let sequence = &self.sequences[key];
        let is_first = self.running.first().is_some_and(|first| first.key == key);
        let asker = (self.roster[sequence.tenant].counter(), sequence.rank, sequence.arrival);
        let rest = self.running.rest().iter();
        let last = rest
            .filter(|turn| among.is_none_or(|tenant| turn.tenant == tenant))
            .max_by_key(|turn| self.right(turn))?;
        (is_first || self.right(last) > asker).then_some(last.key)
    }

    /// Makes room for the head of a line that has had its turn in vain, if its tenant has less than
    /// its part of what is lacking, from those that have more and were served no less. Says whether
    /// something is free now that was not.
    pub(crate) fn reclaim(&mut self, draft: &mut Draft, head: Key<Sequence>, stop: Stop) -> bool {
        let sequence = &self.sequences[head];
        let is_alone = self.roster.iter().filter(|(_, member)| member.is_present()).count() == 1;
        if is_alone || sequence.place == Place::Preempted {
            return false;
        }
        let victim = match stop {
            Stop::Rows => self.seat_to_reclaim(draft, sequence.tenant),
            Stop::Blocks => self.blocks_to_reclaim(draft, sequence),
            Stop::Empty | Stop::Latency | Stop::Tenant | Stop::Tokens => None,
        };
        let Some(victim) = victim else { return false };
        let (num_seats, num_available) = (self.seats.len(), self.kv.pool.num_available());
        self.preempt(draft, victim);
        self.seats.len() > num_seats || self.kv.pool.num_available() > num_available
    }

    fn seat_to_reclaim(&self, draft: &Draft, tenant: Key<Member>) -> Option<Key<Sequence>> {
        let per_weight = self.per_weight(self.limits.rows_max);
        let part = |key: Key<Member>| Part {
            num_held: self.roster[key].num_seats.into(),
            num_due: self.part_of(key, per_weight),
        };
        // A seat that is on its way is as good.
        let is_due = part(tenant).num_held < part(tenant).num_due && self.num_leaving() == 0;
        is_due.then(|| self.victim_for(draft, tenant, part)).flatten()
    }

    fn blocks_to_reclaim(&self, draft: &mut Draft, head: &Sequence) -> Option<Key<Sequence>> {
        let per_weight = self.per_weight(self.limits.num_blocks);
        let leaving = self.leaving_blocks();
        let num_leaving = |key: Key<Member>| -> u64 {
            leaving.iter().filter(|&&(of, _)| of == key).map(|&(_, num)| u64::from(num)).sum()
        };
        let part = |key: Key<Member>| Part {
            num_held: u64::from(self.num_blocks_of(key)).saturating_sub(num_leaving(key)),
            num_due: self.part_of(key, per_weight),
        };
        let num_needed = self.kv.num_blocks_for(head.num_text());
        let num_coming: u32 = leaving.iter().map(|&(_, num)| num).sum();
        let num_lacking = num_needed + self.num_promised(draft);
        let own = part(head.tenant);
        let is_due = own.num_held + u64::from(num_needed) <= own.num_due;
        let is_coming = self.kv.pool.num_available() + num_coming >= num_lacking;
        (is_due && !is_coming).then(|| self.victim_for(draft, head.tenant, part)).flatten()
    }

    /// The last of those running whose tenants have more than their part, and were served no less.
    /// Whom this step admits it does not send back.
    fn victim_for(
        &self,
        draft: &Draft,
        tenant: Key<Member>,
        part: impl Fn(Key<Member>) -> Part,
    ) -> Option<Key<Sequence>> {
        let counter = self.roster[tenant].counter();
        let members = self.roster.iter().filter(|&(key, member)| {
            let is_behind = key != tenant && member.num_running > 0 && member.counter() >= counter;
            is_behind && part(key).num_held > part(key).num_due
        });
        let givers: Vec<_> = members.map(|(key, _)| key).collect();
        let turns =
            self.running.rest().iter().filter(|turn| {
                turn.admission < draft.first_admission && givers.contains(&turn.tenant)
            });
        turns.max_by_key(|turn| self.right(turn)).map(|turn| turn.key)
    }

    /// `total`, and the weights that it is divided by: of those that want something.
    pub(crate) fn per_weight(&self, total: u32) -> (u64, u64) {
        let present = self.roster.iter().filter(|(_, member)| member.is_present());
        let weights = present.map(|(_, member)| u64::from(member.tenant.weight)).sum();
        (total.into(), weights)
    }

    /// A tenant's part of a total, at least one.
    pub(crate) fn part_of(&self, key: Key<Member>, (total, weights): (u64, u64)) -> u64 {
        let weight = u64::from(self.roster[key].tenant.weight);
        (total * weight / weights).max(1)
    }

    /// Blocks of sequences that want no further row, which come home by themselves.
    fn leaving_blocks(&self) -> Vec<(Key<Member>, u32)> {
        let rows = self.in_flight.iter().flat_map(|flight| &flight.rows);
        let last_rows = rows.filter_map(|row| {
            let sequence = &self.sequences[row.key];
            let is_leaving = !matches!(sequence.place, Place::Running | Place::Waiting);
            let is_last = row.end == sequence.num_planned;
            (is_leaving && is_last).then(|| (sequence.tenant, sequence.table.len()))
        });
        last_rows.collect()
    }

    /// Sends a running sequence back to its line.
    fn preempt(&mut self, draft: &mut Draft, key: Key<Sequence>) {
        let sequence = &mut self.sequences[key];
        sequence.place = Place::Preempted;
        let turn = self.running.leave(sequence.admission);
        let member = &mut self.roster[turn.tenant];
        member.num_running -= 1;
        member.has_lane = false;
        self.roster.arrive(turn);
        self.preemptions_total += 1;
        draft.num_promised = None;
        self.settle(key);
    }

    /// How little right to go on somebody running has.
    fn right(&self, turn: &Turn) -> (Counter, u64, u64) {
        (self.roster[turn.tenant].counter(), turn.rank, turn.arrival)
    }

    /// Sequences that hold a seat and want no further row: their blocks come home by themselves.
    pub(crate) fn num_leaving(&self) -> u32 {
        self.limits.rows_max - self.seats.len() as u32 - self.running.len()
    }

    /// Blocks charged to a tenant.
    pub(crate) fn num_blocks_of(&self, tenant: Key<Member>) -> u32 {
        self.kv.pool.num_owned(Owner(tenant.number()))
    }
}
