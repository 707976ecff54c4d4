//! Brings bytes of files to the device as fast as the bus takes them: threads copy to page-locked
//! memory, from where the device fetches while the next bytes are copied.
#![expect(unsafe_code, reason = "copies through the driver")]

use std::borrow::Cow;
use std::sync::Arc;
use std::thread;

use cudarc::driver::sys::CUevent_flags;
use cudarc::driver::{CudaContext, CudaEvent};
use engine_backend::BackendError;
use parking_lot::Mutex;

use crate::fault::device_error;
use crate::memory::Memory;
use crate::pinned::Pinned;
use crate::queue::Queue;

/// One thread copies five gigabytes a second; more than this many gain nothing.
const THREADS_MAX: usize = 12;
/// Bytes that a thread copies before it looks for more.
const SHARE_BYTES: usize = 1 << 20;
/// Where slices begin on the device.
const ALIGNMENT: usize = 256;

/// Two batches of bytes, of which one is being copied while the other is on its way.
pub(crate) struct Upload {
    halves: [Half; 2],
    next: usize,
}

struct Half {
    host: Pinned,
    device: Memory,
    /// After the last kernel that reads what was brought.
    read: CudaEvent,
}

impl Upload {
    /// Room for batches of so many bytes.
    pub(crate) fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, BackendError> {
        let half = || Half::new(context, bytes);
        Ok(Self { halves: [half()?, half()?], next: 0 })
    }

    /// Bytes that a batch may have, as [`Self::size`] counts them.
    pub(crate) fn capacity(&self) -> usize {
        self.halves[0].device.bytes()
    }

    /// Room that a slice takes in a batch.
    pub(crate) const fn size(bytes: usize) -> usize {
        bytes.next_multiple_of(ALIGNMENT)
    }

    /// Where each slice is on the device once what is enqueued next runs, until [`Self::done`] was
    /// called twice.
    pub(crate) fn bring(
        &mut self,
        queue: &Queue,
        slices: &[Cow<'_, [u8]>],
    ) -> Result<Vec<u64>, BackendError> {
        let sizes: Vec<_> = slices.iter().map(|slice| slice.len()).collect();
        let places = self.room(&sizes)?;
        let half = &mut self.halves[self.next];
        let used = sizes.into_iter().map(Self::size).sum();
        copy(slices, &mut bytemuck::cast_slice_mut(half.host.words_mut())[..used]);
        // SAFETY: both sides have as many bytes; the host's are left alone until `read`.
        unsafe { queue.copy(half.host.pointer(), half.device.at(0), used) };
        Ok(places)
    }

    /// Room for a batch of so many bytes each, as [`Self::bring`] would make it.
    pub(crate) fn room(&self, sizes: &[usize]) -> Result<Vec<u64>, BackendError> {
        let half = &self.halves[self.next];
        half.read.synchronize().map_err(device_error)?;
        let mut end = 0;
        let place = |&size: &usize| {
            let at = half.device.at(end);
            end += Self::size(size);
            at
        };
        let places = sizes.iter().map(place).collect();
        assert!(end <= self.capacity(), "a batch has room");
        Ok(places)
    }

    /// All kernels that read the last batch are enqueued.
    pub(crate) fn done(&mut self, queue: &Queue) {
        queue.record(&self.halves[self.next].read);
        self.next = 1 - self.next;
    }
}

impl Half {
    fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, BackendError> {
        let flags = Some(CUevent_flags::CU_EVENT_DISABLE_TIMING);
        Ok(Self {
            host: Pinned::new(context, bytes.div_ceil(size_of::<u32>()))?,
            device: Memory::new(context, bytes)?,
            read: context.new_event(flags).map_err(device_error)?,
        })
    }
}

/// Copies slices, each to a multiple of [`ALIGNMENT`].
fn copy(slices: &[Cow<'_, [u8]>], mut to: &mut [u8]) {
    let mut shares = Vec::new();
    for slice in slices {
        let (room, rest) = to.split_at_mut(Upload::size(slice.len()));
        to = rest;
        shares.extend(room.chunks_mut(SHARE_BYTES).zip(slice.chunks(SHARE_BYTES)));
    }
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let threads = threads.min(shares.len());
    let shares = Mutex::new(shares.into_iter());
    let work = || {
        loop {
            let share = shares.lock().next();
            let Some((room, bytes)) = share else { break };
            room[..bytes.len()].copy_from_slice(bytes);
        }
    };
    thread::scope(|scope| {
        (1..threads).for_each(|_| {
            scope.spawn(work);
        });
        work();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_copied_whole_to_aligned_places() {
        let large: Vec<u8> = (0..3 * SHARE_BYTES + 5).map(|i| (i % 251) as u8).collect();
        let slices = [&[1, 2, 3], &[][..], &large, &[9; ALIGNMENT]].map(Cow::from);
        let size = slices.iter().map(|slice| Upload::size(slice.len())).sum();
        let mut to = vec![0; size];
        copy(&slices, &mut to);
        assert_eq!(to[..3], [1, 2, 3]);
        assert_eq!(to[ALIGNMENT..][..large.len()], large);
        assert_eq!(to[size - ALIGNMENT..], [9; ALIGNMENT]);
    }
}
