//! Memory of the host that the device reaches.
#![expect(unsafe_code, reason = "allocates through the driver, and shares with the device")]

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::{CudaContext, result};
use engine_backend::BackendError;

/// Words in page-locked memory, at the same address for host and device.
pub(crate) struct Pinned {
    words: *mut u32,
    count: usize,
    context: Arc<CudaContext>,
}

// SAFETY: it is plain memory; whoever holds it says when the device is done with it.
unsafe impl Send for Pinned {}
// SAFETY: through a shared reference it is only read.
unsafe impl Sync for Pinned {}

impl Pinned {
    pub(crate) fn new(context: &Arc<CudaContext>, count: usize) -> Result<Self, BackendError> {
        let bytes = count.max(1) * size_of::<u32>();
        // SAFETY: the context is current on this thread.
        let words = unsafe { result::malloc_host(bytes, 0) }.map_err(|error| {
            BackendError::Device(format!("no room for {bytes} page-locked bytes: {error}"))
        })?;
        let words = words.cast::<u32>();
        // SAFETY: `bytes` were allocated, so all words can be written; zeros are words.
        unsafe { words.write_bytes(0, count.max(1)) };
        Ok(Self { words, count, context: Arc::clone(context) })
    }

    /// The address for kernels and copies.
    pub(crate) fn pointer(&self) -> u64 {
        self.words as u64
    }

    /// What the device wrote, once an event after it has been waited for.
    pub(crate) fn words(&self) -> &[u32] {
        // SAFETY: all words were allocated and written; the device writes none after that event.
        unsafe { std::slice::from_raw_parts(self.words, self.count) }
    }

    /// For the host to fill, once an event after the device's last read has been waited for.
    pub(crate) fn words_mut(&mut self) -> &mut [u32] {
        // SAFETY: as in `words`, and nobody else holds a reference.
        unsafe { std::slice::from_raw_parts_mut(self.words, self.count) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let idle = self.context.bind_to_thread().and_then(|()| self.context.synchronize());
        // SAFETY: it was allocated by `new`, and the device is idle.
        let freed = idle.and_then(|()| unsafe { result::free_host(self.words.cast::<c_void>()) });
        self.context.record_err(freed);
    }
}
