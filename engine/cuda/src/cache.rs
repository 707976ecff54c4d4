//! The paged cache of one layer: `[blocks][heads][keys, values][block size][dim]` of f16, so that
//! one head's keys of a block are one piece, and its values another. Where the device's copies and
//! products can do with it, a piece is tiled and swizzled as they read it, which `cache.cuh` shows.

use engine_backend::{BackendError, CacheShape, DType};

use crate::memory::Memory;
use crate::queue::Queue;

/// Keys and values of one layer.
pub struct Cache {
    memory: Memory,
    shape: CacheShape,
    tiled: bool,
}

/// A cache as kernels know it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct DeviceShape {
    heads: i32,
    dim: i32,
    block_size: i32,
    tiled: i32,
}

/// What sixteen bytes at a time can be read of.
const DIM_STEP: usize = 8;
/// What a block's shared memory holds enough positions of.
const DIM_MAX: usize = 256;
/// Heads that tiles are made for.
const TILED_DIMS: [usize; 2] = [64, 128];
/// Positions of a tile.
const TILE: usize = 8;

impl DeviceShape {
    /// Of nothing.
    pub(crate) const NONE: Self = Self { heads: 0, dim: 0, block_size: 0, tiled: 0 };

    pub(crate) fn heads(&self) -> i32 {
        self.heads
    }

    pub(crate) fn dim(&self) -> i32 {
        self.dim
    }
}

impl Cache {
    /// Tiled if the device `tiles` and the shape allows it.
    pub(crate) fn new(queue: &Queue, shape: CacheShape, tiles: bool) -> Result<Self, BackendError> {
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
        let fits = TILED_DIMS.contains(&shape.dim) && shape.block_size.is_multiple_of(TILE);
        Ok(Self { memory, shape, tiled: tiles && fits })
    }

    /// Bytes that a cache of this shape takes.
    pub(crate) fn bytes(shape: CacheShape) -> usize {
        let position = shape.heads.saturating_mul(shape.dim).saturating_mul(2 * size_of::<u16>());
        position.saturating_mul(shape.block_size).saturating_mul(shape.num_blocks)
    }

    pub(crate) fn shape(&self) -> CacheShape {
        self.shape
    }

    pub(crate) fn tiled(&self) -> bool {
        self.tiled
    }

    pub(crate) fn device_shape(&self) -> DeviceShape {
        let CacheShape { heads, dim, block_size, .. } = self.shape;
        let [heads, dim, block_size] = [heads, dim, block_size].map(|size| size as i32);
        DeviceShape { heads, dim, block_size, tiled: i32::from(self.tiled) }
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
