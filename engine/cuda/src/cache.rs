//! The paged cache of one layer: `[blocks][heads][keys, values][block size][dim]` of f16, so that
//! one head's keys of a block are one piece, and its values another.

use engine_backend::{BackendError, CacheShape, DType};

use crate::memory::Memory;
use crate::queue::Queue;

/// Keys and values of one layer.
pub struct Cache {
    memory: Memory,
    shape: CacheShape,
}

/// What sixteen bytes at a time can be read of.
const DIM_STEP: usize = 8;
/// What a block's shared memory holds enough positions of.
const DIM_MAX: usize = 256;

impl Cache {
    pub(crate) fn new(queue: &Queue, shape: CacheShape) -> Result<Self, BackendError> {
        if !shape.dim.is_multiple_of(DIM_STEP) || shape.dim > DIM_MAX {
            let dim = shape.dim;
            return Err(BackendError::Device(format!(
                "heads of {dim} elements, expected a multiple of {DIM_STEP}, at most {DIM_MAX}"
            )));
        }
        if shape.dtype != DType::F16 {
            return Err(BackendError::Unkept { dtype: shape.dtype, supported: &[DType::F16] });
        }
        let memory = Memory::new(queue.context(), Self::bytes(shape))?;
        Ok(Self { memory, shape })
    }

    /// Bytes that a cache of this shape takes.
    pub(crate) fn bytes(shape: CacheShape) -> usize {
        let position = shape.heads.saturating_mul(shape.dim).saturating_mul(2 * size_of::<u16>());
        position.saturating_mul(shape.block_size).saturating_mul(shape.num_blocks)
    }

    pub(crate) fn shape(&self) -> CacheShape {
        self.shape
    }

    pub(crate) fn pointer(&self) -> u64 {
        self.memory.at(0)
    }

    /// The same, for an operation that writes.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "the device writes through it")]
    pub(crate) fn pointer_mut(&mut self) -> u64 {
        self.pointer()
    }
}
