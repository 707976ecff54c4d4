//! The tenants as the scheduler sees them: what each has had, what it holds, who of it waits.
//!
//! A tenant is *backlogged* while somebody of it waits. One that becomes so again has its counter
//! lifted to the least of those that are already, or, with nobody waiting, to that of the tenant
//! that was the last to be, and never below the floor, which is where the tenant stood of whom
//! somebody was last admitted: what it did not ask for while it was away is not owed to it. A
//! tenant at a bound of its own is *held back*: others pass it, and when the bound lets it go it is
//! lifted in the same way.

use alloc::vec::Vec;

use crate::arena::{Arena, Key};
use crate::pace::Pace;
use crate::queue::{Line, Turn};
use crate::service::Service;
use crate::{Counter, Tenant, TenantId, Tenants, Tick};

/// All tenants, and sums over their lines.
pub(crate) struct Roster {
    members: Arena<Member>,
    /// Those of the table, sorted by name.
    listed: Vec<(TenantId, Key<Member>)>,
    /// Those that were in a table before, and are forgotten with what they hold.
    unlisted: Vec<Key<Member>>,
    /// Those with somebody waiting, in no order.
    backlogged: Vec<Key<Member>>,
    /// Who was the last to have somebody waiting.
    last_left: Option<Key<Member>>,
    /// The highest counter at which somebody was admitted.
    floor: Counter,
    num_turns: u64,
    num_waiting: u32,
    num_waiting_tokens: u64,
    departures: Departures,
    service_gap_max: Counter,
}

/// One tenant.
pub(crate) struct Member {
    pub(crate) tenant: Tenant,
    pub(crate) service: Service,
    pub(crate) line: Line,
    /// Most blocks that its sequences may hold.
    pub(crate) blocks_max: u32,
    /// Sequences with a seat.
    pub(crate) num_seats: u32,
    /// Sequences that rows are planned for.
    pub(crate) num_running: u32,
    /// Sequences that there are at all.
    pub(crate) num_sequences: u32,
    /// Passed over because of a bound of its own.
    pub(crate) is_held_back: bool,
    /// When it was last served before others, as a number that only grows.
    pub(crate) last_turn: u64,
    /// Whether it has its say in the step being planned.
    pub(crate) has_lane: bool,
    pub(crate) departures: Departures,
    pub(crate) sums: ServiceSums,
}

/// What a tenant's requests have had since it came.
#[derive(Clone, Copy, Default)]
pub(crate) struct ServiceSums {
    pub(crate) prefill: u64,
    pub(crate) cached: u64,
    pub(crate) output: u64,
}

/// How fast requests leave a line, and prompt tokens with them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Departures {
    pub(crate) requests: Pace,
    pub(crate) tokens: Pace,
}

/// In which order tenants are served: the least served first, among equals whoever waited longer.
pub(crate) type Claim = (Counter, u64, TenantId);

impl Roster {
    pub(crate) fn new(tenants: &Tenants, num_blocks: u32) -> Self {
        let mut roster = Self {
            members: Arena::new(),
            listed: Vec::new(),
            unlisted: Vec::new(),
            backlogged: Vec::new(),
            last_left: None,
            floor: Counter(0),
            num_turns: 0,
            num_waiting: 0,
            num_waiting_tokens: 0,
            departures: Departures::default(),
            service_gap_max: Counter(0),
        };
        roster.replace(tenants, num_blocks);
        roster
    }

    /// Another table counts from now on. Counters and requests stay; who is not in it any more goes
    /// with the next [`Self::forget_gone`] that finds it empty-handed.
    pub(crate) fn replace(&mut self, tenants: &Tenants, num_blocks: u32) {
        let before = core::mem::take(&mut self.listed);
        for tenant in tenants.iter() {
            let listed = before.binary_search_by_key(&tenant.id, |&(id, _)| id);
            let unlisted = || self.unlisted.iter().find(|&&key| self[key].tenant.id == tenant.id);
            let known = listed.map_or_else(|_| unlisted().copied(), |index| Some(before[index].1));
            let key = match known {
                Some(key) => {
                    self.members[key].become_tenant(tenant, num_blocks);
                    key
                }
                None => self.members.insert(Member::new(tenant, num_blocks)),
            };
            self.listed.push((tenant.id, key));
        }
        let members = self.members.iter();
        let unlisted = members.filter(|(_, member)| !self.is_listed(member.tenant.id));
        self.unlisted = unlisted.map(|(key, _)| key).collect();
    }

    /// Forgets tenants that are in no table and have no request and, as `num_blocks` says, no block
    /// left. Others may still share a block that is charged to one whose requests have gone.
    pub(crate) fn forget_gone(&mut self, num_blocks: impl Fn(Key<Member>) -> u32) {
        for index in (0..self.unlisted.len()).rev() {
            let key = self.unlisted[index];
            if self[key].num_sequences > 0 || num_blocks(key) > 0 {
                continue;
            }
            if self.last_left == Some(key) {
                (self.floor, self.last_left) = (self.floor.max(self[key].counter()), None);
            }
            self.members.remove(key);
            self.unlisted.swap_remove(index);
        }
    }

    /// The tenant of this name, if it is in the table.
    pub(crate) fn find(&self, id: TenantId) -> Option<Key<Member>> {
        let index = self.listed.binary_search_by_key(&id, |&(id, _)| id).ok()?;
        Some(self.listed[index].1)
    }

    /// A sequence waits, new or preempted.
    pub(crate) fn arrive(&mut self, turn: Turn) {
        if self[turn.tenant].line.len() == 0 {
            self.lift(turn.tenant);
            self.backlogged.push(turn.tenant);
        }
        self.num_waiting += 1;
        self.num_waiting_tokens += u64::from(turn.num_prompt);
        self[turn.tenant].line.join(turn);
    }

    /// A sequence waits no longer.
    pub(crate) fn depart(&mut self, key: Key<Member>, order: (u64, u64), now: Tick) -> Turn {
        let member = &mut self.members[key];
        let turn = member.line.leave(order);
        member.departures.count(turn.num_prompt, now);
        self.departures.count(turn.num_prompt, now);
        self.num_waiting -= 1;
        self.num_waiting_tokens -= u64::from(turn.num_prompt);
        if member.line.len() == 0 {
            member.is_held_back = false;
            self.backlogged.retain(|&other| other != key);
            self.last_left = Some(key);
        }
        turn
    }

    /// Somebody of the tenant is about to be admitted.
    pub(crate) fn raise_floor(&mut self, key: Key<Member>) {
        self.floor = self.floor.max(self[key].counter());
    }

    /// It is this tenant's turn: among equals it is now the last.
    pub(crate) fn take_turn(&mut self, key: Key<Member>) {
        self.num_turns += 1;
        self.members[key].last_turn = self.num_turns;
    }

    /// A bound of its own lets a tenant go on.
    pub(crate) fn let_go(&mut self, key: Key<Member>) {
        self.lift(key);
        self.members[key].is_held_back = false;
    }

    /// All sequences are gone; the service that they had is not.
    pub(crate) fn forget_sequences(&mut self) {
        let keys: Vec<_> = self.members.iter().map(|(key, _)| key).collect();
        for key in keys {
            let member = &mut self.members[key];
            member.line = Line::new();
            (member.num_seats, member.num_running, member.num_sequences) = (0, 0, 0);
            member.is_held_back = false;
        }
        (self.num_waiting, self.num_waiting_tokens) = (0, 0);
        self.backlogged.clear();
    }

    /// Remembers how far apart those backlogged are.
    pub(crate) fn note_gap(&mut self) {
        if self.backlogged.len() > 1 {
            self.service_gap_max = self.service_gap_max.max(self.gap());
        }
    }

    /// How far apart the counters of those backlogged are, but for those held back.
    pub(crate) fn gap(&self) -> Counter {
        let contenders = self.contenders().map(|key| self[key].counter());
        let (least, most) = (contenders.clone().min(), contenders.max());
        Counter(most.unwrap_or_default().0 - least.unwrap_or_default().0)
    }

    pub(crate) const fn gap_max(&self) -> Counter {
        self.service_gap_max
    }

    pub(crate) fn claim(&self, key: Key<Member>) -> Claim {
        let member = &self[key];
        (member.counter(), member.last_turn, member.tenant.id)
    }

    /// Whether the table has more than one tenant.
    pub(crate) const fn has_several(&self) -> bool {
        self.listed.len() > 1
    }

    /// Everybody of whom somebody waits.
    pub(crate) fn backlogged(&self) -> &[Key<Member>] {
        &self.backlogged
    }

    /// Those that somebody waits of and nothing of their own holds back.
    pub(crate) fn contenders(&self) -> impl Iterator<Item = Key<Member>> + Clone {
        self.backlogged.iter().copied().filter(|&key| !self[key].is_held_back)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key<Member>, &Member)> {
        self.members.iter()
    }

    pub(crate) fn is_listed(&self, id: TenantId) -> bool {
        self.find(id).is_some()
    }

    pub(crate) const fn num_waiting(&self) -> u32 {
        self.num_waiting
    }

    pub(crate) const fn num_waiting_tokens(&self) -> u64 {
        self.num_waiting_tokens
    }

    pub(crate) const fn departures(&self) -> &Departures {
        &self.departures
    }

    fn lift(&mut self, key: Key<Member>) {
        let others = self.contenders().filter(|&other| other != key);
        let least = others.map(|other| self[other].counter()).min();
        let left = || self.last_left.map_or(self.floor, |last| self[last].counter());
        let floor = least.unwrap_or_else(left).max(self.floor);
        self.members[key].service.lift(floor);
    }
}

impl core::ops::Index<Key<Member>> for Roster {
    type Output = Member;

    fn index(&self, key: Key<Member>) -> &Member {
        &self.members[key]
    }
}

impl core::ops::IndexMut<Key<Member>> for Roster {
    fn index_mut(&mut self, key: Key<Member>) -> &mut Member {
        &mut self.members[key]
    }
}

impl Member {
    fn new(tenant: &Tenant, num_blocks: u32) -> Self {
        Self {
            tenant: *tenant,
            service: Service::new(tenant.weight),
            line: Line::new(),
            blocks_max: blocks_max(tenant, num_blocks),
            num_seats: 0,
            num_running: 0,
            num_sequences: 0,
            is_held_back: false,
            last_turn: 0,
            has_lane: false,
            departures: Departures::default(),
            sums: ServiceSums::default(),
        }
    }

    fn become_tenant(&mut self, tenant: &Tenant, num_blocks: u32) {
        if self.tenant.weight != tenant.weight {
            self.service.reweigh(tenant.weight);
        }
        self.blocks_max = blocks_max(tenant, num_blocks);
        self.tenant = *tenant;
    }

    pub(crate) fn counter(&self) -> Counter {
        self.service.counter()
    }

    /// Sequences that hold a seat and want no further row.
    pub(crate) const fn num_leaving(&self) -> u32 {
        self.num_seats - self.num_running
    }

    /// Whether it wants something of the server.
    pub(crate) fn is_present(&self) -> bool {
        self.num_seats > 0 || self.line.len() > 0
    }
}

impl Departures {
    fn count(&mut self, num_prompt: u32, now: Tick) {
        self.requests.count(1, now);
        self.tokens.count(num_prompt.into(), now);
    }
}

/// A tenant's part of the cache; at least one block.
fn blocks_max(tenant: &Tenant, num_blocks: u32) -> u32 {
    let part = u64::from(num_blocks) * u64::from(tenant.kv_per_mille) / 1_000;
    u32::try_from(part).unwrap_or(num_blocks).max(1)
}
