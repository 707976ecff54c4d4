//! The one stream, on which everything happens in the order it is enqueued.
#![expect(unsafe_code, reason = "launches kernels and copies through the driver")]

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError, result, sys};
use engine_backend::BackendError;

use crate::DeviceInfo;
use crate::fault::{Faults, device_error};
use crate::memory::Memory;
use crate::module::Function;

/// How many threads a kernel gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub(crate) blocks: (usize, usize, usize),
    /// Threads of a block.
    pub(crate) threads: usize,
    /// Bytes of shared memory of a block, besides what the kernel has itself.
    pub(crate) shared: usize,
}

impl Grid {
    pub(crate) fn new(blocks: (usize, usize), threads: usize) -> Self {
        Self { blocks: (blocks.0, blocks.1, 1), threads, shared: 0 }
    }
}

/// The least compute capability whose kernels can begin early.
const OVERLAP_MIN: (i32, i32) = (9, 0);

/// A stream, and the errors of what was enqueued.
pub(crate) struct Queue {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    faults: Faults,
    /// Whether a kernel can begin before the one before it has ended.
    overlaps: bool,
    /// Whether launches are left out.
    muted: Cell<bool>,
    /// Whether the next kernel begins only when all before have ended.
    apart: Cell<bool>,
}

impl Queue {
    pub(crate) fn new(context: &Arc<CudaContext>, info: &DeviceInfo) -> Result<Self, DriverError> {
        let stream = context.new_stream()?;
        let overlaps = info.capability >= OVERLAP_MIN;
        let (context, faults) = (Arc::clone(context), Faults::default());
        let (muted, apart) = (Cell::new(false), Cell::new(false));
        Ok(Self { context, stream, faults, overlaps, muted, apart })
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

    /// Whether launches are left out from now on.
    pub(crate) fn mute(&self, muted: bool) {
        self.muted.set(muted);
    }

    pub(crate) fn is_muted(&self) -> bool {
        self.muted.get()
    }

    /// The next kernel begins only when all before have ended: what they wrote may then be read by
    /// it and all that follow, however early.
    pub(crate) fn set_apart(&self) {
        self.apart.set(true);
    }

    /// Launches a kernel with its one argument; nothing if there are no blocks. It may begin before
    /// the one before has ended, and waits by itself where it must.
    ///
    /// # Safety
    /// `params` is what the kernel declares, its pointers cover what the kernel touches, and their
    /// memory is not freed before the kernel has ended.
    pub(crate) unsafe fn launch<P: Copy>(&self, function: Function, grid: Grid, params: &P) {
        let Grid { blocks: (x, y, z), threads, shared } = grid;
        if x * y * z == 0 || self.muted.get() {
            return;
        }
        let narrow = |size: usize| u32::try_from(size).expect("a grid within 32 bits");
        let mut attribute = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: Default::default(),
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: narrow(x),
            gridDimY: narrow(y),
            gridDimZ: narrow(z),
            blockDimX: narrow(threads),
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: narrow(shared),
            hStream: self.stream.cu_stream(),
            attrs: &raw mut attribute,
            numAttrs: u32::from(self.overlaps && !self.apart.replace(false)),
        };
        let mut arguments = [std::ptr::from_ref(params).cast_mut().cast::<c_void>()];
        // SAFETY: the caller's promise; the driver copies the argument before it returns.
        let done = unsafe {
            sys::cuLaunchKernelEx(&config, function.0, arguments.as_mut_ptr(), std::ptr::null_mut())
        };
        self.faults.note(done.result());
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

    /// Copies to or from page-locked memory.
    ///
    /// # Safety
    /// Both sides cover the bytes, and the host doesn't touch its side before an event after this.
    pub(crate) unsafe fn copy(&self, from: u64, to: u64, bytes: usize) {
        if bytes > 0 {
            // SAFETY: the caller's promise; page-locked addresses are the device's too.
            let done =
                unsafe { sys::cuMemcpyAsync(to, from, bytes, self.stream.cu_stream()) }.result();
            self.faults.note(done);
        }
    }

    /// Waits for everything that was enqueued.
    pub(crate) fn finish(&self) -> Result<(), BackendError> {
        self.stream.synchronize().map_err(device_error)?;
        self.faults.check()
    }

    pub(crate) fn record(&self, event: &CudaEvent) {
        self.faults.note(event.record(&self.stream));
    }
}
