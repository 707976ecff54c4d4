//! Who is in front of whom.
//!
//! There is one order, that of arrival. Running sequences are older than waiting ones, always: the
//! oldest waiting is admitted first, the youngest running is preempted first, and it goes back to
//! the head of the queue. So whoever is oldest can only go on, and everybody becomes oldest in
//! time.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::arena::Key;
use crate::sequence::Sequence;

/// The sequences that rows are planned for, and those waiting for it, each oldest first.
pub(crate) struct Queue {
    running: Vec<Turn>,
    waiting: VecDeque<Turn>,
    /// Prompt tokens of those waiting.
    num_waiting_tokens: u64,
}

/// A sequence's place in the order.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) arrival: u64,
    pub(crate) key: Key<Sequence>,
    num_prompt: u32,
}

impl Turn {
    pub(crate) fn new(key: Key<Sequence>, sequence: &Sequence) -> Self {
        Self { arrival: sequence.arrival, key, num_prompt: sequence.num_prompt() }
    }
}

impl Queue {
    pub(crate) const fn new() -> Self {
        Self { running: Vec::new(), waiting: VecDeque::new(), num_waiting_tokens: 0 }
    }

    /// A new sequence waits behind all others.
    pub(crate) fn arrive(&mut self, turn: Turn) {
        self.num_waiting_tokens += u64::from(turn.num_prompt);
        self.waiting.push_back(turn);
    }

    /// The oldest waiting runs.
    pub(crate) fn admit(&mut self) {
        let turn = self.waiting.pop_front().expect("who admits has seen the head");
        self.num_waiting_tokens -= u64::from(turn.num_prompt);
        self.running.push(turn);
    }

    /// The youngest running waits, if it is younger than `arrival`.
    pub(crate) fn preempt_younger_than(&mut self, arrival: u64) -> Option<Key<Sequence>> {
        let turn = self.running.pop_if(|turn| turn.arrival > arrival)?;
        self.num_waiting_tokens += u64::from(turn.num_prompt);
        self.waiting.push_front(turn);
        Some(turn.key)
    }

    pub(crate) fn leave_running(&mut self, arrival: u64) {
        let index = self.running.binary_search_by_key(&arrival, |turn| turn.arrival);
        self.running.remove(index.expect("a running sequence is in the order"));
    }

    pub(crate) fn leave_waiting(&mut self, arrival: u64) {
        let index = self.waiting.binary_search_by_key(&arrival, |turn| turn.arrival);
        let turn = self.waiting.remove(index.expect("a waiting sequence is in the order"));
        self.num_waiting_tokens -= turn.map_or(0, |turn| u64::from(turn.num_prompt));
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    /// The oldest waiting.
    pub(crate) fn head(&self) -> Option<Key<Sequence>> {
        self.waiting.front().map(|turn| turn.key)
    }

    /// The running sequence with `index` older ones.
    pub(crate) fn nth_running(&self, index: usize) -> Option<Key<Sequence>> {
        self.running.get(index).map(|turn| turn.key)
    }

    pub(crate) fn num_running(&self) -> u32 {
        self.running.len() as u32
    }

    pub(crate) fn num_waiting(&self) -> u32 {
        self.waiting.len() as u32
    }

    pub(crate) const fn num_waiting_tokens(&self) -> u64 {
        self.num_waiting_tokens
    }

    /// Everybody, running then waiting.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Turn> {
        self.running.iter().chain(&self.waiting)
    }
}
