//! Memory of the device.
#![expect(unsafe_code, reason = "allocates and frees through the driver")]

use std::sync::Arc;

use cudarc::driver::sys::{CUdeviceptr, CUresult};
use cudarc::driver::{CudaContext, result};
use engine_backend::BackendError;

use crate::fault::device_error;

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
            if error.0 != CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                return device_error(error);
            }
            let free = context.mem_get_info().map(|(free, _)| free).ok();
            BackendError::OutOfMemory { bytes, free }
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
            .map_err(device_error)
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
