//! Weights that are floats, multiplied as such: F32, F16, BF16.

use bytemuck::Zeroable;

use super::{Format, half_at, widen};
use crate::{
    activation::{Floats, Rows, UNIT},
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

/// Adds the products with the lines that `line` loads, input by input.
#[inline(always)]
fn accumulate<S: Simd, T, const R: usize>(
    s: S,
    block: &Block<T>,
    x: Rows<'_, Floats>,
    sums: &mut [S::F; R],
    line: impl Fn(&[T; LANES]) -> S::F,
) {
    let x = x.at::<R>(0);
    for (i, weights) in block.0.iter().enumerate() {
        let weights = line(weights);
        for (x, sum) in x.iter().zip(sums.iter_mut()) {
            *sum = s.fma(weights, s.splat(x.0[i]), *sum);
        }
    }
}

macro_rules! format {
    ($name:ident, $bits:ty, $from:expr, $to:expr, $load:ident) => {
        impl Format for $name {
            type Block = Block<$bits>;
            type Unit = Floats;
            const UNITS: usize = 1;
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
            fn accumulate<S: Simd, const R: usize>(
                s: S,
                block: &Self::Block,
                x: Rows<'_, Floats>,
                sums: &mut [S::F; R],
            ) {
                accumulate(s, block, x, sums, |line| s.$load(line));
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
