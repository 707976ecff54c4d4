//! Whose time is up when: every deadline of every open request, the earliest first.

use alloc::collections::BTreeMap;

use crate::arena::Key;
use crate::sequence::Sequence;
use crate::update::Deadline;
use crate::{Terms, Tick};

/// Deadlines that still count. One entry costs a logarithm to enter and to take out.
pub(crate) struct Deadlines {
    by_time: BTreeMap<(Tick, u64, Deadline), Key<Sequence>>,
}

impl Deadlines {
    pub(crate) const fn new() -> Self {
        Self { by_time: BTreeMap::new() }
    }

    /// Watches what a request asks for.
    pub(crate) fn enter(&mut self, terms: &Terms, arrival: u64, key: Key<Sequence>) {
        for (time, deadline) in of(terms) {
            self.by_time.insert((time, arrival, deadline), key);
        }
    }

    /// The request has ended.
    pub(crate) fn leave(&mut self, terms: &Terms, arrival: u64) {
        for (time, deadline) in of(terms) {
            self.by_time.remove(&(time, arrival, deadline));
        }
    }

    /// The request has its first row: it has waited in time.
    pub(crate) fn meet_queue(&mut self, terms: &Terms, arrival: u64) {
        if let Some(time) = terms.queue_deadline {
            self.by_time.remove(&(time, arrival, Deadline::Queue));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.by_time.clear();
    }

    pub(crate) fn next(&self) -> Option<Tick> {
        self.by_time.first_key_value().map(|(&(time, ..), _)| time)
    }

    /// One that has passed at `now`. It stays until its request leaves.
    pub(crate) fn passed(&self, now: Tick) -> Option<(Key<Sequence>, Deadline)> {
        let (&(time, _, deadline), &key) = self.by_time.first_key_value()?;
        (time <= now).then_some((key, deadline))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_time.len()
    }

    pub(crate) fn knows(&self, time: Tick, arrival: u64, deadline: Deadline) -> bool {
        self.by_time.contains_key(&(time, arrival, deadline))
    }
}

/// The deadlines that a request asks for.
pub(crate) fn of(terms: &Terms) -> impl Iterator<Item = (Tick, Deadline)> {
    let queue = terms.queue_deadline.map(|time| (time, Deadline::Queue));
    let whole = terms.deadline.map(|time| (time, Deadline::Whole));
    queue.into_iter().chain(whole)
}
