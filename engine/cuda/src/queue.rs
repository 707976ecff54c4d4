//! The one stream, on which everything happens in the order it is enqueued.
#![expect(unsafe_code, reason = "launches kernels and copies through the driver")]

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError, result, sys};
use engine_backend::BackendError;

use crate::fault::{Faults, device_error};
use crate::memory::Memory;
use crate::module::Function;

/// How many threads a kernel gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub(crate) blocks: (usize, usize),
    /// Threads of a block.
    pub(crate) threads: usize,
    /// Bytes of shared memory of a block, besides what the kernel has itself.
    pub(crate) shared: usize,
}

impl Grid {
    pub(crate) fn new(blocks: (usize, usize), threads: usize) -> Self {
        Self { blocks, threads, shared: 0 }
    }
}

/// A stream, and the errors of what was enqueued.
pub(crate) struct Queue {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    faults: Faults,
}

impl Queue {
    pub(crate) fn new(context: &Arc<CudaContext>) -> Result<Self, DriverError> {
        let stream = context.new_stream()?;
        Ok(Self { context: Arc::clone(context), stream, faults: Faults::default() })
    }

    pub(crate) fn context(&self) -> &Arc<CudaContext> {
        &self.context
    }

    pub(crate) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Launches a kernel with its one argument; nothing if there are no blocks.
    ///
    /// # Safety
    /// `params` is what the kernel declares, its pointers cover what the kernel touches, and their
    /// memory is not freed before the kernel has ended.
    pub(crate) unsafe fn launch<P: Copy>(&self, function: Function, grid: Grid, params: &P) {
        let Grid { blocks: (x, y), threads, shared } = grid;
        if x == 0 || y == 0 {
            return;
        }
        let narrow = |size: usize| u32::try_from(size).expect("a grid within 32 bits");
        let (x, y) = (narrow(x), narrow(y));
        let (threads, shared) = (narrow(threads), narrow(shared));
        let mut arguments = [std::ptr::from_ref(params).cast_mut().cast::<c_void>()];
        let stream = self.stream.cu_stream();
        // SAFETY: the caller's promise; the driver copies the argument before it returns.
        self.faults.note(unsafe {
            result::launch_kernel(
                function.0,
                (x, y, 1),
                (threads, 1, 1),
                shared,
                stream,
                &mut arguments,
            )
        });
    }

    /// Copies to the device, from `offset` on; `from` may be reused at once.
    pub(crate) fn upload_to(
        &self,
        memory: &Memory,
        offset: usize,
        from: &[u8],
    ) -> Result<(), BackendError> {
        assert!(offset + from.len() <= memory.bytes(), "uploads where there is room");
        // SAFETY: the memory covers the bytes; what isn't page-locked is read before this returns.
        let done =
            unsafe { result::memcpy_htod_async(memory.at(offset), from, self.stream.cu_stream()) };
        done.map_err(device_error)
    }

    /// Sets all bytes of a memory.
    pub(crate) fn fill_with(&self, memory: &Memory, byte: u8) -> Result<(), BackendError> {
        let stream = self.stream.cu_stream();
        // SAFETY: the memory covers its bytes.
        let done = unsafe { result::memset_d8_async(memory.at(0), byte, memory.bytes(), stream) };
        done.map_err(device_error)
    }

    /// Copies to page-locked memory.
    ///
    /// # Safety
    /// Both sides cover the bytes, and the host doesn't touch its side before an event after this.
    pub(crate) unsafe fn download(&self, from: u64, to: u64, bytes: usize) {
        if bytes > 0 {
            // SAFETY: the caller's promise; page-locked addresses are the device's too.
            let done =
                unsafe { sys::cuMemcpyAsync(to, from, bytes, self.stream.cu_stream()) }.result();
            self.faults.note(done);
        }
    }

    pub(crate) fn record(&self, event: &CudaEvent) {
        self.faults.note(event.record(&self.stream));
    }
}
