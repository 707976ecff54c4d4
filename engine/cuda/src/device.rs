//! Finding and opening a GPU.
#![expect(unsafe_code, reason = "asks whether the driver's library is there")]

use std::fmt;
use std::sync::Arc;

use cudarc::driver::sys::{CUdevice_attribute as Attribute, is_culib_present};
use cudarc::driver::{CudaContext, DriverError};
use engine_backend::BackendError;

use crate::module;

/// The least compute capability that kernels are written for: bf16 on tensor cores, copies that
/// nobody waits for.
const CAPABILITY_MIN: (i32, i32) = (8, 0);

/// Why no GPU can be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The GPU is too old.
    #[error(
        "{name} has compute capability {}.{}, expected at least {}.{}",
        found.0, found.1, CAPABILITY_MIN.0, CAPABILITY_MIN.1
    )]
    Capability {
        /// What the GPU calls itself.
        name: String,
        /// Its compute capability.
        found: (i32, i32),
    },
    /// The driver's own words.
    #[error("the CUDA driver fails: {0}")]
    Driver(String),
    /// No kernel in the binary runs on the GPU.
    #[error("this build has no CUDA kernels for {name}: {reason}")]
    Kernels {
        /// What the GPU calls itself.
        name: String,
        /// The driver's own words.
        reason: String,
    },
    /// The driver sees no GPU.
    #[error("no NVIDIA GPU was found")]
    NoDevice,
    /// The driver is not installed.
    #[error("the NVIDIA driver was not found: its library libcuda.so cannot be loaded")]
    NoDriver,
    /// The binary was built where there was no nvcc.
    #[error("this build has no CUDA kernels: build it where nvcc is, or name it in ANTIPHON_NVCC")]
    NoKernels,
}

impl From<DriverError> for OpenError {
    fn from(error: DriverError) -> Self {
        Self::Driver(error.to_string())
    }
}

impl OpenError {
    /// What a backend refuses while it is being made.
    pub(crate) fn from_backend(error: BackendError) -> Self {
        Self::Driver(error.to_string())
    }
}

/// What is known of a GPU.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// What it calls itself.
    pub name: String,
    /// Major and minor number.
    pub capability: (i32, i32),
    /// Streaming multiprocessors.
    pub multiprocessors: usize,
    /// Bytes of shared memory that a block may have.
    pub shared_bytes: usize,
    /// Bytes of memory.
    pub memory_bytes: usize,
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gigabytes = self.memory_bytes as f64 / 1e9;
        write!(f, "{}, {} multiprocessors, {gigabytes:.1} GB", self.name, self.multiprocessors)
    }
}

/// The first GPU, current on this thread.
pub(crate) fn open() -> Result<(Arc<CudaContext>, DeviceInfo), OpenError> {
    if !module::any() {
        return Err(OpenError::NoKernels);
    }
    // SAFETY: only looks for the library, and loads it if it is there.
    if !unsafe { is_culib_present() } {
        return Err(OpenError::NoDriver);
    }
    if CudaContext::device_count().unwrap_or(0) == 0 {
        return Err(OpenError::NoDevice);
    }
    let context = CudaContext::new(0)?;
    // SAFETY: memory is never shared between streams here: all work is on one.
    unsafe { context.disable_event_tracking() };
    let info = info(&context)?;
    if info.capability < CAPABILITY_MIN {
        return Err(OpenError::Capability { name: info.name, found: info.capability });
    }
    Ok((context, info))
}

fn info(context: &CudaContext) -> Result<DeviceInfo, OpenError> {
    let attribute = |which| -> Result<usize, OpenError> {
        Ok(usize::try_from(context.attribute(which)?).unwrap_or(0))
    };
    Ok(DeviceInfo {
        name: context.name()?,
        capability: context.compute_capability()?,
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        shared_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        memory_bytes: context.total_mem()?,
    })
}
