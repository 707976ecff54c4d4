//! The paged cache of one layer.
//!
//! A block holds, head by head, its keys and then its values, as a plain type: what is [`Kept`].
//! Keys lie dimension by dimension in groups of sixteen positions, so that scores of sixteen
//! positions come out of one vector without sums over lanes; values lie position by position.

use engine_backend::{BackendError, CacheShape, DType};

use crate::simd::{LANES, Shared, Simd, Zeroed};

/// Keys and values of one layer.
pub struct Cache {
    elements: Elements,
    layout: Layout,
}

/// Keys and values in each type that they are kept in.
pub(crate) enum Elements {
    /// Bits of halves.
    F16(Zeroed<u16>),
    /// Floats as they were computed.
    F32(Zeroed<f32>),
}

/// An element as a cache keeps it.
pub(crate) trait Kept: Shared {
    /// Reads sixteen.
    fn load<S: Simd>(s: S, x: &[Self; LANES]) -> S::F;
    /// Rounds sixteen, ties to even.
    fn store<S: Simd>(s: S, x: S::F, to: &mut [Self; LANES]);
}

impl Kept for u16 {
    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[Self; LANES]) -> S::F {
        s.load_f16(x)
    }

    #[inline(always)]
    fn store<S: Simd>(s: S, x: S::F, to: &mut [Self; LANES]) {
        s.store_f16(x, to);
    }
}

impl Kept for f32 {
    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[Self; LANES]) -> S::F {
        s.load(x)
    }

    #[inline(always)]
    fn store<S: Simd>(s: S, x: S::F, to: &mut [Self; LANES]) {
        s.store(x, to);
    }
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
        let dtype = shape.dtype;
        let elements = if dtype == DType::F16 {
            Elements::F16(Zeroed::new(layout.all())?)
        } else if dtype == DType::F32 {
            Elements::F32(Zeroed::new(layout.all())?)
        } else {
            return Err(BackendError::Unkept { dtype, supported: &[DType::F16, DType::F32] });
        };
        Ok(Self { elements, layout })
    }

    /// Bytes that a cache of this shape takes.
    pub(crate) fn bytes(shape: CacheShape) -> usize {
        Layout::new(shape).all().saturating_mul(shape.dtype.block_bytes())
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    pub(crate) fn elements(&self) -> &Elements {
        &self.elements
    }

    /// The same, to be written to.
    pub(crate) fn elements_mut(&mut self) -> (&mut Elements, Layout) {
        (&mut self.elements, self.layout)
    }
}

/// Writes keys and values to slots, from several threads.
pub(crate) struct Writer<'a, K: Kept> {
    cells: &'a [K::Cell],
    layout: Layout,
}

impl<'a, K: Kept> Writer<'a, K> {
    pub(crate) fn new(elements: &'a mut [K], layout: Layout) -> Self {
        Self { cells: K::cells(elements), layout }
    }

    /// Writes elements of the key of one head, from `first` on.
    pub(crate) fn key(&self, slot: usize, head: usize, first: usize, key: &[K]) {
        let (block, at) = self.place(slot);
        let start = self.layout.key(block, head, at / LANES) + first * LANES + at % LANES;
        let column = self.cells[start..].iter().step_by(LANES);
        key.iter().zip(column).for_each(|(x, cell)| x.put(cell));
    }

    /// Writes elements of the value of one head, from `first` on.
    pub(crate) fn value(&self, slot: usize, head: usize, first: usize, value: &[K]) {
        let (block, at) = self.place(slot);
        let start = self.layout.value(block, head, 0) + at * self.layout.value + first;
        let cells = &self.cells[start..][..value.len()];
        value.iter().zip(cells).for_each(|(x, cell)| x.put(cell));
    }

    fn place(&self, slot: usize) -> (usize, usize) {
        (slot / self.layout.shape.block_size, slot % self.layout.shape.block_size)
    }
}
