//! MXFP4: blocks of 32 with a power of two and four-bit floats, `w = 2^(e - 127) q`, by the OCP
//! Microscaling Formats specification.

use bytemuck::Zeroable;
use half::bf16;

use super::{
    Decoded, Format, Halves,
    codes::{Book, Codes, FileCodes, Plane},
    sums::Centred,
};
use crate::{activation::Quantised, simd::Simd};

/// See the module.
pub(crate) struct Mxfp4;

/// Twice the values of floats of one sign bit, two of exponent and one of mantissa.
const BOOK: Book = Book::new([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], 12);

/// Half of `2^(exponent - 127)`, as bfloat16: the book is doubled.
fn half_of_power(exponent: u8) -> u16 {
    match exponent {
        // Too small for an exponent of bfloat16's, so a bit of its mantissa.
        0 | 1 => 1 << (5 + exponent),
        _ => u16::from(exponent - 1) << 7,
    }
}

#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(32))]
pub(crate) struct Block {
    codes: Plane<4>,
    /// bfloat16, which has all these powers.
    scale: Halves,
}

impl Format for Mxfp4 {
    type Block = Block;
    type Unit = Quantised;
    const UNITS: usize = 1;
    const FILE_BYTES: usize = 17;

    fn pack(block: &mut Block, lane: usize, bytes: &[u8]) {
        block.scale[lane] = half_of_power(bytes[0]);
        block.codes.take(lane, &bytes[1..]);
    }

    fn unpack(block: &Block, lane: usize, weights: &mut [f32]) {
        let scale = bf16::from_bits(block.scale[lane]).to_f32();
        for (input, weight) in weights.iter_mut().enumerate() {
            *weight = scale * BOOK.weight(block.codes.get(lane, input));
        }
    }

    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &Block, _: usize) -> impl Decoded<S, Quantised> {
        Centred::<S, false> {
            codes: BOOK.raised(s, block.codes.load(s)),
            zero: 12,
            scale: s.load_bf16(&block.scale),
        }
    }
}
