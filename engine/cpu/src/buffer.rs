//! Activations and vectors: f32 in main memory.

use engine_backend::BackendError;

use crate::simd::Zeroed;

/// Activations, `[rows, width]`; up to a capacity of rows.
pub struct Buffer {
    values: Zeroed<f32>,
    rows: usize,
    capacity: usize,
    width: usize,
}

/// A vector of f32.
pub struct Vector(Vec<f32>);

impl Buffer {
    pub(crate) fn new(capacity: usize, width: usize) -> Result<Self, BackendError> {
        let values = Zeroed::new(capacity.saturating_mul(width))?;
        Ok(Self { values, rows: 0, capacity, width })
    }

    /// Rows in use.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The rows in use, one after the other.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values[..self.rows * self.width]
    }

    /// The rows in use, one after the other.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.rows * self.width]
    }

    /// Sets how many rows are in use; those that come into use hold what they held before.
    ///
    /// # Panics
    /// If that is more than it has room for.
    pub fn set_rows(&mut self, rows: usize) {
        assert!(rows <= self.capacity, "{rows} rows in a buffer of {}", self.capacity);
        self.rows = rows;
    }
}

impl Vector {
    pub(crate) fn new(values: &[f32]) -> Result<Self, BackendError> {
        let mut vector = Vec::new();
        let bytes = size_of_val(values);
        vector
            .try_reserve_exact(values.len())
            .map_err(|_| BackendError::OutOfMemory { bytes, free: None })?;
        vector.extend_from_slice(values);
        Ok(Self(vector))
    }

    /// Its elements.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.0
    }
}
