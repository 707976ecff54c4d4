//! Makes weights that nobody trained on the device: see [`engine_backend::noise`].
#![expect(unsafe_code, reason = "launches kernels")]

use engine_backend::DType;
use engine_backend::noise::{BlockRecipe, Noise, Recipe, Scale, Twins};

use crate::OpenError;
use crate::module::{Function, Modules};
use crate::queue::{Grid, Queue};

/// Threads of a block, each of which makes a block of weights, or so many plain ones.
const THREADS: usize = 128;
const PLAIN_EACH: usize = 8;

/// The kernels.
pub(crate) struct NoiseKernels {
    blocks: Function,
    /// Plain weights of two bytes, and of four.
    plain: [Function; 2],
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Spread {
    raw: u64,
    key: u64,
    first: u64,
    stride: u64,
    blocks: u64,
    across: u64,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Blocks {
    spread: Spread,
    bytes: u32,
    scale: u32,
    scale_at: u32,
    low: u32,
    high: u32,
    twins: u32,
    twins_at: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Plain {
    spread: Spread,
    values: [u32; 256],
}

impl NoiseKernels {
    pub(crate) fn load(modules: &Modules<'_>) -> Result<Self, OpenError> {
        Ok(Self {
            blocks: modules.function("noise", "noise_blocks")?,
            plain: [modules.function("noise", "noise_16")?, modules.function("noise", "noise_32")?],
        })
    }

    /// Makes rows of `cols` weights each at an address, as a file would hold them.
    ///
    /// # Safety
    /// There is room for them.
    pub(crate) unsafe fn make(
        &self,
        queue: &Queue,
        noise: Noise,
        dtype: DType,
        (rows, cols): (usize, usize),
        raw: u64,
    ) {
        let across = cols / dtype.block_elements();
        let blocks = rows * across;
        let Noise { key, size, first, stride } = noise;
        let (blocks_all, across) = (blocks as u64, across as u64);
        let spread = Spread { raw, key, first, stride, blocks: blocks_all, across };
        match Recipe::new(dtype, size) {
            Recipe::Block(recipe) => {
                let grid = Grid::new((blocks.div_ceil(THREADS), 1), THREADS);
                // SAFETY: the caller's promise: there is room for as many blocks.
                unsafe { queue.launch(self.blocks, grid, &Blocks::new(spread, recipe)) };
            }
            Recipe::Plain(values) => {
                let values = values.try_into().expect("a value for each byte");
                let function = self.plain[usize::from(dtype.block_bytes() == 4)];
                let grid = Grid::new((blocks.div_ceil(THREADS * PLAIN_EACH), 1), THREADS);
                // SAFETY: the caller's promise: there is room for as many elements.
                unsafe { queue.launch(function, grid, &Plain { spread, values }) };
            }
        }
    }
}

impl Blocks {
    fn new(spread: Spread, BlockRecipe { bytes, scale, twins }: BlockRecipe) -> Self {
        let (scale, scale_at, low, high) = match scale {
            Scale::Signed(at, scale) => (0, at, scale.to_bits().into(), 0),
            Scale::WithMinimum(at, scale, minimum) => {
                (1, at, scale.to_bits().into(), minimum.to_bits().into())
            }
            Scale::Exponent(exponent, chance) => (2, 0, exponent.into(), chance.into()),
        };
        let (twins, twins_at) = match twins {
            Twins::None => (0, 0),
            Twins::Nibbles(length) => (1, length),
            Twins::SixBits(at) => (2, at),
        };
        let (bytes, scale_at, twins_at) = (bytes as u32, scale_at as u32, twins_at as u32);
        Self { spread, bytes, scale, scale_at, low, high, twins, twins_at }
    }
}
