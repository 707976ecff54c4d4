//! The ways in and out of buffers that no step takes.

use engine_backend::BackendError;

use super::CudaBackend;
use crate::buffer::{Buffer, Element};

impl CudaBackend {
    /// Fills a buffer with `rows` rows from the host, held as `element`.
    ///
    /// # Errors
    /// The device's.
    ///
    /// # Panics
    /// If there are not as many values, or the buffer has no room for them.
    pub fn write(
        &self,
        buffer: &mut Buffer,
        rows: usize,
        element: Element,
        values: &[f32],
    ) -> Result<(), BackendError> {
        buffer.fill(&self.queue, rows, element, values)
    }

    /// Sets every byte of a buffer, those of rows that are not in use too.
    ///
    /// # Errors
    /// The device's.
    pub fn poison(&self, buffer: &Buffer, byte: u8) -> Result<(), BackendError> {
        buffer.poison(&self.queue, byte)
    }
}
