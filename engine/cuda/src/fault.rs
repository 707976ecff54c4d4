//! The first error, kept until somebody waits.

use std::sync::Arc;

use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;
use engine_backend::BackendError;
use parking_lot::Mutex;

/// Where a step's errors go: what enqueues cannot answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Mutex<Option<BackendError>>>);

impl Faults {
    /// Keeps the error, unless there was one before.
    pub(crate) fn note(&self, result: Result<(), DriverError>) {
        if let Err(error) = result {
            self.0.lock().get_or_insert_with(|| device_error(error));
        }
    }

    /// Keeps an error that already has its words.
    pub(crate) fn note_error(&self, error: BackendError) {
        self.0.lock().get_or_insert(error);
    }

    /// The first error that was kept; it stays.
    pub(crate) fn check(&self) -> Result<(), BackendError> {
        self.0.lock().clone().map_or(Ok(()), Err)
    }
}

/// The driver's words for an error, and whether the device is beyond use.
pub(crate) fn device_error(error: DriverError) -> BackendError {
    let text = error.to_string();
    if is_final(error.0) { BackendError::Lost(text) } else { BackendError::Device(text) }
}

/// Whether every later call in this process fails, too: a context that met such an error stays
/// broken, and there is one for each device and process.
fn is_final(error: CUresult) -> bool {
    matches!(
        error,
        CUresult::CUDA_ERROR_ASSERT
            | CUresult::CUDA_ERROR_CONTAINED
            | CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED
            | CUresult::CUDA_ERROR_DEINITIALIZED
            | CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE
            | CUresult::CUDA_ERROR_ECC_UNCORRECTABLE
            | CUresult::CUDA_ERROR_EXTERNAL_DEVICE
            | CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR
            | CUresult::CUDA_ERROR_ILLEGAL_ADDRESS
            | CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | CUresult::CUDA_ERROR_INVALID_PC
            | CUresult::CUDA_ERROR_LAUNCH_FAILED
            | CUresult::CUDA_ERROR_LAUNCH_TIMEOUT
            | CUresult::CUDA_ERROR_MISALIGNED_ADDRESS
            | CUresult::CUDA_ERROR_MPS_CLIENT_TERMINATED
            | CUresult::CUDA_ERROR_NVLINK_UNCORRECTABLE
            | CUresult::CUDA_ERROR_TENSOR_MEMORY_LEAK
            | CUresult::CUDA_ERROR_UNKNOWN
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_the_context_loses_the_device_and_the_rest_does_not() {
        for lost in [CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, CUresult::CUDA_ERROR_LAUNCH_FAILED] {
            assert!(is_final(lost), "{lost:?}");
        }
        for passing in
            [CUresult::CUDA_ERROR_OUT_OF_MEMORY, CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED]
        {
            assert!(!is_final(passing), "{passing:?}");
        }
    }

    #[test]
    fn the_first_error_stays() {
        let faults = Faults::default();
        assert_eq!(faults.check(), Ok(()));
        let [first, second] = ["one", "two"].map(|text| BackendError::Device(text.to_owned()));
        faults.note_error(first.clone());
        faults.note_error(second);
        assert_eq!(faults.check(), Err(first.clone()));
        assert_eq!(faults.clone().check(), Err(first));
    }
}
