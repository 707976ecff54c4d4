//! The first error, kept until somebody waits.

use std::sync::Arc;

use cudarc::driver::DriverError;
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

/// The driver's words for an error.
pub(crate) fn device_error(error: DriverError) -> BackendError {
    BackendError::Device(error.to_string())
}
