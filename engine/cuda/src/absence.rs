//! Why no GPU can be used, and what is needed.

use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;
use engine_backend::BackendError;

/// The least compute capability that kernels are written for: bf16 on tensor cores, copies that
/// nobody waits for.
pub(crate) const CAPABILITY_MIN: (i32, i32) = (8, 0);

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
    /// The driver is older than the kernels.
    #[error(
        "the NVIDIA driver is too old: it knows CUDA up to {}.{}, expected at least {needed}.0; \
         install a newer driver",
        found.0, found.1
    )]
    DriverTooOld {
        /// The newest release of CUDA that it knows.
        found: (i32, i32),
        /// The major number of the release that would do.
        needed: i32,
    },
    /// No kernel in the binary runs on the GPU.
    #[error("this build has no CUDA kernels for {name}: {reason}")]
    Kernels {
        /// What the GPU calls itself.
        name: String,
        /// The driver's own words.
        reason: String,
    },
    /// NCCL's own words.
    #[error("NCCL fails: {0}")]
    Nccl(String),
    /// The driver sees no GPU.
    #[error("no NVIDIA GPU was found")]
    NoDevice,
    /// NCCL is not installed.
    #[error(
        "NCCL, which more than one GPU needs, was not found: its library libnccl.so cannot be \
         loaded"
    )]
    NoNccl,
    /// The driver is not installed.
    #[error("the NVIDIA driver was not found: its library libcuda.so cannot be loaded")]
    NoDriver,
    /// The binary was built where there was no nvcc.
    #[error("this build has no CUDA kernels: build it where nvcc is, or name it in ANTIPHON_NVCC")]
    NoKernels,
    /// No kernel in the binary is for GPUs of this kind.
    #[error(
        "{name} has compute capability {major}.{minor}, and this build has kernels for {archs} \
         alone: build it with ANTIPHON_CUDA_ARCHS={major}{minor}",
        major = found.0, minor = found.1
    )]
    NotInBuild {
        /// What the GPU calls itself.
        name: String,
        /// Its compute capability.
        found: (i32, i32),
        /// What the kernels are for, as nvcc names it.
        archs: &'static str,
    },
}

impl From<DriverError> for OpenError {
    fn from(error: DriverError) -> Self {
        let code = error.0;
        if code == CUresult::CUDA_ERROR_NO_DEVICE {
            return Self::NoDevice;
        }
        // Found where the toolkit is installed and the driver is not.
        if code == CUresult::CUDA_ERROR_STUB_LIBRARY {
            return Self::NoDriver;
        }
        Self::Driver(match remedy(code) {
            Some(remedy) => format!("{code:?}; {remedy}"),
            None => error.to_string(),
        })
    }
}

impl OpenError {
    /// What a backend refuses while it is being made.
    pub(crate) fn from_backend(error: BackendError) -> Self {
        Self::Driver(error.to_string())
    }
}

/// What helps where the driver's own words do not.
fn remedy(error: CUresult) -> Option<&'static str> {
    const REMEDIES: [(CUresult, &str); 7] = [
        (
            CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH,
            "the driver's library and its kernel module are of different versions: restart the \
             machine",
        ),
        (
            CUresult::CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE,
            "a compatibility library of CUDA is loaded that this GPU does not support: remove it \
             from the library path, or install a newer driver",
        ),
        (
            CUresult::CUDA_ERROR_SYSTEM_NOT_READY,
            "the GPUs are not ready: where they are joined by NVSwitch, start nvidia-fabricmanager",
        ),
        (
            CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE,
            "the GPU is another process's alone: end that one, or set the compute mode to default",
        ),
        (CUresult::CUDA_ERROR_OUT_OF_MEMORY, "other processes hold nearly all of its memory"),
        (
            CUresult::CUDA_ERROR_OPERATING_SYSTEM,
            "is this user allowed to open /dev/nvidia*, and are those devices here?",
        ),
        (
            CUresult::CUDA_ERROR_UNKNOWN,
            "is the kernel module nvidia_uvm loaded, and has the GPU left the bus?",
        ),
    ];
    REMEDIES.iter().find(|(known, _)| *known == error).map(|(_, remedy)| *remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_driver_says_becomes_what_is_needed() {
        let told = |error| OpenError::from(DriverError(error)).to_string();
        assert_eq!(told(CUresult::CUDA_ERROR_NO_DEVICE), OpenError::NoDevice.to_string());
        assert_eq!(told(CUresult::CUDA_ERROR_STUB_LIBRARY), OpenError::NoDriver.to_string());
        assert_eq!(
            told(CUresult::CUDA_ERROR_SYSTEM_NOT_READY),
            "the CUDA driver fails: CUDA_ERROR_SYSTEM_NOT_READY; the GPUs are not ready: where \
             they are joined by NVSwitch, start nvidia-fabricmanager"
        );
    }
}
