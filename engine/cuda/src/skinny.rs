//! Blocks that compute at most eight rows: their shared memory, as in `kernels/device/skinny.cuh`.

use crate::format::{Format, UNIT_INPUTS, UNIT_OUTPUTS, units};
use crate::job::slices;

/// Most rows of a block.
pub(crate) const ROWS_MAX: usize = 8;

/// Bytes of a row that lies in shared memory.
pub(crate) const fn row_bytes(inputs: usize) -> usize {
    2 * (units(inputs) * UNIT_INPUTS + 8)
}

/// Bytes of rows, and of the sums that warps leave for each other, where units go through
/// registers.
pub(crate) const fn streamed_bytes(inputs: usize, rows: usize, tiles: usize) -> usize {
    rows * (row_bytes(inputs) + tiles * slices(inputs) * UNIT_OUTPUTS * size_of::<f32>())
}

/// The same and one tile's weights, where they lie in shared memory.
pub(crate) const fn resident_bytes(format: Format, inputs: usize, rows: usize) -> usize {
    format.bytes(UNIT_OUTPUTS, inputs) + streamed_bytes(inputs, rows, 1)
}
