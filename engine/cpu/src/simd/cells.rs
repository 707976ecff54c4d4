//! Elements that several threads may write.

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use bytemuck::Zeroable;

/// An element that threads may write while others write its neighbours, or it: the last write
/// stays.
pub(crate) trait Shared: Zeroable + Copy + Send + Sync + 'static {
    /// What is written to.
    type Cell: Sync;

    /// Views elements as cells.
    fn cells(x: &mut [Self]) -> &[Self::Cell];

    /// Writes an element.
    fn put(self, cell: &Self::Cell);
}

impl Shared for u16 {
    type Cell = AtomicU16;

    fn cells(x: &mut [Self]) -> &[AtomicU16] {
        // SAFETY: an `AtomicU16` has the size, alignment and values of a `u16`, and the exclusive
        // borrow keeps every other access away for as long as the cells live.
        unsafe { &*(std::ptr::from_mut(x) as *const [AtomicU16]) }
    }

    #[inline]
    fn put(self, cell: &AtomicU16) {
        cell.store(self, Ordering::Relaxed);
    }
}

impl Shared for f32 {
    type Cell = AtomicU32;

    fn cells(x: &mut [Self]) -> &[AtomicU32] {
        // SAFETY: an `AtomicU32` has the size and alignment of an `f32`, any bits are values of
        // both, and the exclusive borrow keeps every other access away for as long as the cells
        // live.
        unsafe { &*(std::ptr::from_mut(x) as *const [AtomicU32]) }
    }

    #[inline]
    fn put(self, cell: &AtomicU32) {
        cell.store(self.to_bits(), Ordering::Relaxed);
    }
}
