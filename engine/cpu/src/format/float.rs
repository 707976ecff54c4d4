//! Weights that are floats, multiplied as such: F32, F16, BF16.

use bytemuck::Zeroable;

use super::{Decoded, Format, half_at, widen};
use crate::{
    activation::{Floats, UNIT},
    simd::{LANES, Simd},
};

/// IEEE single precision.
pub(crate) struct F32;
/// IEEE half precision.
pub(crate) struct F16;
/// bfloat16.
pub(crate) struct Bf16;

/// Line `i` is the weights of input `i`.
#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block<T>([[T; LANES]; UNIT]);

/// A block, with what loads its lines.
struct Lines<'a, T, L> {
    block: &'a Block<T>,
    load: L,
}

impl<S: Simd, T, L: Fn(&[T; LANES]) -> S::F> Decoded<S, Floats> for Lines<'_, T, L> {
    /// Input by input.
    #[inline(always)]
    fn add<const R: usize>(&self, s: S, x: &[Floats; R], sums: &mut [S::F; R]) {
        for (i, weights) in self.block.0.iter().enumerate() {
            let weights = (self.load)(weights);
            for (x, sum) in x.iter().zip(sums.iter_mut()) {
                *sum = s.fma(weights, s.splat(x.0[i]), *sum);
            }
        }
    }
}

macro_rules! format {
    ($name:ident, $bits:ty, $from:expr, $to:expr, $load:ident) => {
        impl Format for $name {
            type Block = Block<$bits>;
            type Unit = Floats;
            const UNITS: usize = 1;
            const MANY: bool = true;
            const FILE_BYTES: usize = UNIT * size_of::<$bits>();

            fn pack(block: &mut Self::Block, lane: usize, bytes: &[u8]) {
                for (line, bytes) in block.0.iter_mut().zip(bytes.chunks(size_of::<$bits>())) {
                    line[lane] = $from(bytes);
                }
            }

            fn unpack(block: &Self::Block, lane: usize, weights: &mut [f32]) {
                for (weight, line) in weights.iter_mut().zip(&block.0) {
                    *weight = $to(line[lane]);
                }
            }

            #[inline(always)]
            fn decode<S: Simd>(s: S, block: &Self::Block, _: usize) -> impl Decoded<S, Floats> {
                Lines { block, load: move |line: &[$bits; LANES]| s.$load(line) }
            }
        }
    };
}

format!(F16, u16, half_at, widen, load_f16);
format!(Bf16, u16, half_at, |bits| half::bf16::from_bits(bits).to_f32(), load_bf16);
format!(F32, f32, single_at, |x| x, load);

fn single_at(bytes: &[u8]) -> f32 {
    f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
