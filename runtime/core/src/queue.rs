//! Who is in front of whom.
//!
//! Inside a tenant there is one order, for waiting and for running: that of [`Turn::order`]. A
//! request's rank is the moment at which it arrived, put back by the ageing time for each step of
//! priority; so a more urgent one is in front of those that came a little earlier, and nobody is
//! overtaken by what arrives much later. Among equals it is the order of arrival.
//!
//! Across tenants those running stand in the order of admission. The first of them, whoever it is,
//! is never preempted: it can only go on, and everybody who runs becomes first in time.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::arena::Key;
use crate::roster::Member;
use crate::sequence::Sequence;

/// A sequence's place in the order.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) key: Key<Sequence>,
    pub(crate) tenant: Key<Member>,
    pub(crate) rank: u64,
    pub(crate) arrival: u64,
    /// Its number in the order of admission, once it runs.
    pub(crate) admission: u64,
    pub(crate) num_prompt: u32,
}

impl Turn {
    pub(crate) fn new(key: Key<Sequence>, sequence: &Sequence) -> Self {
        Self {
            key,
            tenant: sequence.tenant,
            rank: sequence.rank,
            arrival: sequence.arrival,
            admission: sequence.admission,
            num_prompt: sequence.num_prompt(),
        }
    }

    /// The smaller, the further in front.
    pub(crate) const fn order(&self) -> (u64, u64) {
        (self.rank, self.arrival)
    }
}

/// A tenant's waiting sequences, the first in front.
pub(crate) struct Line {
    turns: VecDeque<Turn>,
    /// Prompt tokens of those waiting.
    num_tokens: u64,
}

impl Line {
    pub(crate) const fn new() -> Self {
        Self { turns: VecDeque::new(), num_tokens: 0 }
    }

    pub(crate) fn join(&mut self, turn: Turn) {
        self.num_tokens += u64::from(turn.num_prompt);
        let index = self.turns.partition_point(|other| other.order() < turn.order());
        self.turns.insert(index, turn);
    }

    /// Takes out the sequence of this order.
    pub(crate) fn leave(&mut self, order: (u64, u64)) -> Turn {
        let index = self.turns.binary_search_by_key(&order, Turn::order);
        let turn = index.ok().and_then(|index| self.turns.remove(index));
        let turn = turn.expect("a waiting sequence stands in its tenant's line");
        self.num_tokens -= u64::from(turn.num_prompt);
        turn
    }

    pub(crate) fn head(&self) -> Option<Key<Sequence>> {
        self.turns.front().map(|turn| turn.key)
    }

    /// How many are in front of the sequence of this order.
    pub(crate) fn num_before(&self, order: (u64, u64)) -> u32 {
        self.turns.partition_point(|other| other.order() < order) as u32
    }

    pub(crate) fn len(&self) -> u32 {
        self.turns.len() as u32
    }

    pub(crate) const fn num_tokens(&self) -> u64 {
        self.num_tokens
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Turn> {
        self.turns.iter()
    }
}

/// The sequences that rows are planned for, in the order of admission.
pub(crate) struct Running {
    turns: Vec<Turn>,
    num_admissions: u64,
}

impl Running {
    pub(crate) const fn new() -> Self {
        Self { turns: Vec::new(), num_admissions: 0 }
    }

    /// One more runs. Returns its number in the order of admission.
    pub(crate) fn admit(&mut self, turn: Turn) -> u64 {
        let admission = self.num_admissions;
        self.num_admissions += 1;
        self.turns.push(Turn { admission, ..turn });
        admission
    }

    pub(crate) fn leave(&mut self, admission: u64) -> Turn {
        let index = self.turns.binary_search_by_key(&admission, |turn| turn.admission);
        self.turns.remove(index.expect("a running sequence is in the order"))
    }

    pub(crate) const fn num_admissions(&self) -> u64 {
        self.num_admissions
    }

    pub(crate) fn clear(&mut self) {
        self.turns.clear();
    }

    /// The running sequence with `index` before it.
    pub(crate) fn nth(&self, index: usize) -> Option<Key<Sequence>> {
        self.turns.get(index).map(|turn| turn.key)
    }

    /// The index of whoever was admitted next after `admission`, who is or was at `index`.
    pub(crate) fn index_after(&self, admission: u64, index: usize) -> usize {
        match self.turns.get(index) {
            Some(turn) if turn.admission == admission => index + 1,
            _ => self.turns.partition_point(|turn| turn.admission <= admission),
        }
    }

    /// Whoever was admitted first.
    pub(crate) fn first(&self) -> Option<&Turn> {
        self.turns.first()
    }

    /// All others: those that may be preempted.
    pub(crate) fn rest(&self) -> &[Turn] {
        self.turns.get(1..).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> u32 {
        self.turns.len() as u32
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Turn> {
        self.turns.iter()
    }
}
