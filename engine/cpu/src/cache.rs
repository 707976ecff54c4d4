//! The paged cache of one layer.
//!
//! A block holds, head by head, its keys and then its values, as halves. Keys lie dimension by
//! dimension in groups of sixteen positions, so that scores of sixteen positions come out of one
//! vector without sums over lanes; values lie position by position.

use std::sync::atomic::{AtomicU16, Ordering};

use engine_backend::{BackendError, CacheShape};

use crate::simd::{LANES, Zeroed, cells};

/// Keys and values of one layer.
pub struct Cache {
    halves: Zeroed<u16>,
    layout: Layout,
}

/// Where things are.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) shape: CacheShape,
    /// Groups of positions in a block.
    pub(crate) groups: usize,
    /// Elements of a value: `dim`, padded to whole vectors.
    pub(crate) value: usize,
}

impl Layout {
    /// Of a cache.
    fn new(shape: CacheShape) -> Self {
        Self {
            shape,
            groups: shape.block_size.div_ceil(LANES),
            value: shape.dim.next_multiple_of(LANES),
        }
    }

    /// Of the keys of one head in one block.
    fn keys(&self) -> usize {
        self.groups * LANES * self.shape.dim
    }

    /// Of one head in one block.
    fn head(&self) -> usize {
        self.keys() + self.shape.block_size * self.value
    }

    /// Of everything.
    fn all(&self) -> usize {
        self.head().saturating_mul(self.shape.heads).saturating_mul(self.shape.num_blocks)
    }

    fn start(&self, block: usize, head: usize) -> usize {
        assert!(block < self.shape.num_blocks, "block {block} of {}", self.shape.num_blocks);
        (block * self.shape.heads + head) * self.head()
    }

    /// The keys of a group of positions, dimension by dimension, start here.
    pub(crate) fn key(&self, block: usize, head: usize, group: usize) -> usize {
        self.start(block, head) + group * LANES * self.shape.dim
    }

    /// The value of the first position of a group starts here, the next `value` later.
    pub(crate) fn value(&self, block: usize, head: usize, group: usize) -> usize {
        self.start(block, head) + self.keys() + group * LANES * self.value
    }
}

impl Cache {
    pub(crate) fn new(shape: CacheShape) -> Result<Self, BackendError> {
        assert!(shape.block_size > 0 && shape.dim > 0, "a cache of {shape:?}");
        let layout = Layout::new(shape);
        Ok(Self { halves: Zeroed::new(layout.all())?, layout })
    }

    /// Bytes that a cache of this shape takes.
    pub(crate) fn bytes(shape: CacheShape) -> usize {
        Layout::new(shape).all().saturating_mul(size_of::<u16>())
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    pub(crate) fn halves(&self) -> &[u16] {
        &self.halves
    }

    /// For several threads to write to.
    pub(crate) fn writer(&mut self) -> Writer<'_> {
        Writer { cells: cells(&mut self.halves), layout: self.layout }
    }
}

/// Writes keys and values to slots.
pub(crate) struct Writer<'a> {
    cells: &'a [AtomicU16],
    layout: Layout,
}

impl Writer<'_> {
    /// Writes elements of the key of one head, from `first` on.
    pub(crate) fn key(&self, slot: usize, head: usize, first: usize, key: &[u16]) {
        let (block, at) = self.place(slot);
        let start = self.layout.key(block, head, at / LANES) + first * LANES + at % LANES;
        let column = self.cells[start..].iter().step_by(LANES);
        key.iter().zip(column).for_each(|(half, cell)| cell.store(*half, Ordering::Relaxed));
    }

    /// Writes elements of the value of one head, from `first` on.
    pub(crate) fn value(&self, slot: usize, head: usize, first: usize, value: &[u16]) {
        let (block, at) = self.place(slot);
        let start = self.layout.value(block, head, 0) + at * self.layout.value + first;
        let cells = &self.cells[start..][..value.len()];
        value.iter().zip(cells).for_each(|(half, cell)| cell.store(*half, Ordering::Relaxed));
    }

    fn place(&self, slot: usize) -> (usize, usize) {
        (slot / self.layout.shape.block_size, slot % self.layout.shape.block_size)
    }
}
