//! What queries see of a sequence: its groups of positions, and which of them.

use std::{num::NonZero, ops::Range};

use crate::{cache::Layout, simd::LANES};

/// The keys and values of one head of one sequence.
pub(super) struct Context<'a, K> {
    /// Of the whole cache.
    pub(super) elements: &'a [K],
    pub(super) layout: Layout,
    pub(super) head: usize,
    /// The sequence's blocks.
    pub(super) blocks: &'a [u32],
}

/// A group of positions.
#[derive(Clone, Copy, Default)]
pub(super) struct Group {
    /// Where its keys start.
    pub(super) key: usize,
    /// Where its values start.
    pub(super) value: usize,
    /// Its first position.
    pub(super) first: usize,
    /// How many positions it has.
    pub(super) len: usize,
}

impl<K> Context<'_, K> {
    /// How many groups hold the positions below `limit`.
    pub(super) fn groups(&self, limit: usize) -> usize {
        let size = self.layout.shape.block_size;
        limit / size * self.layout.groups + (limit % size).div_ceil(LANES)
    }

    /// The group that holds a position.
    pub(super) fn group_of(&self, position: usize) -> usize {
        let size = self.layout.shape.block_size;
        position / size * self.layout.groups + position % size / LANES
    }

    pub(super) fn group(&self, i: usize) -> Group {
        let Layout { shape, groups, .. } = self.layout;
        let (block, group) = (i / groups, i % groups);
        let slot = self.blocks[block] as usize;
        Group {
            key: self.layout.key(slot, self.head, group),
            value: self.layout.value(slot, self.head, group),
            first: block * shape.block_size + group * LANES,
            len: LANES.min(shape.block_size - group * LANES),
        }
    }
}

impl Group {
    /// Which of its positions are in `seen`.
    #[inline(always)]
    pub(super) fn lanes(&self, seen: Range<usize>) -> Range<usize> {
        let place = |position: usize| self.len.min(position.saturating_sub(self.first));
        place(seen.start)..place(seen.end)
    }
}

/// Which positions each of `R` queries sees.
pub(super) struct Seen<const R: usize> {
    /// The first.
    pub(super) starts: [usize; R],
    /// The one after the last, which is the query's own.
    pub(super) ends: [usize; R],
}

impl<const R: usize> Seen<R> {
    /// Of queries at these positions, with no window or one.
    #[inline(always)]
    pub(super) fn new(positions: [usize; R], window: Option<NonZero<usize>>) -> Self {
        let window = window.map_or(usize::MAX, NonZero::get);
        let ends = positions.map(|position| position + 1);
        Self { starts: ends.map(|end| end.saturating_sub(window)), ends }
    }

    /// What at least one of them sees: later queries begin and end later.
    pub(super) fn any(&self) -> Range<usize> {
        self.starts[0]..self.ends[R - 1]
    }
}
