//! Elements that several threads may write.

use std::sync::atomic::AtomicU16;

/// Views halves as cells: threads may write any of them, and the last write stays.
pub(crate) fn cells(x: &mut [u16]) -> &[AtomicU16] {
    // SAFETY: an `AtomicU16` has the size, alignment and values of a `u16`, and the exclusive
    // borrow keeps every other access away for as long as the cells live.
    unsafe { &*(std::ptr::from_mut(x) as *const [AtomicU16]) }
}
