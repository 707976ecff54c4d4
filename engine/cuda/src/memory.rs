//! Memory of the device.
#![expect(unsafe_code, reason = "allocates and frees through the driver")]

use std::sync::Arc;

use cudarc::driver::{CudaContext, result, sys::CUdeviceptr};
use engine_backend::BackendError;

/// Bytes on the device, freed when dropped.
pub(crate) struct Memory {
    pointer: CUdeviceptr,
    bytes: usize,
    context: Arc<CudaContext>,
}

impl Memory {
    /// Bytes that hold anything.
    pub(crate) fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, BackendError> {
        // The driver refuses to allocate nothing.
        // SAFETY: the context is current on this thread, the one that opened it.
        let pointer = unsafe { result::malloc_sync(bytes.max(1)) }.map_err(|error| {
            let free = context.mem_get_info().map_or(0, |(free, _)| free);
            BackendError::Device(format!(
                "no room for {bytes} bytes on the GPU, of which {free} are free: {error}"
            ))
        })?;
        Ok(Self { pointer, bytes, context: Arc::clone(context) })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The address `offset` bytes in, for kernels.
    pub(crate) fn at(&self, offset: usize) -> u64 {
        assert!(offset <= self.bytes, "byte {offset} of {}", self.bytes);
        self.pointer + offset as u64
    }

    /// Copies to the host what the device has computed so far.
    pub(crate) fn read(&self, offset: usize, to: &mut [u8]) -> Result<(), BackendError> {
        assert!(offset + to.len() <= self.bytes, "reads what is there");
        let done = self.context.bind_to_thread().and_then(|()| self.context.synchronize());
        // SAFETY: the source covers the bytes, and nothing is running that could write them.
        done.and_then(|()| unsafe { result::memcpy_dtoh_sync(to, self.at(offset)) })
            .map_err(crate::fault::device_error)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // Work that was enqueued may still read it.
        let idle = self.context.bind_to_thread().and_then(|()| self.context.synchronize());
        // SAFETY: it was allocated by `new`, and nothing that runs names it any more.
        let freed = idle.and_then(|()| unsafe { result::free_sync(self.pointer) });
        self.context.record_err(freed);
    }
}
