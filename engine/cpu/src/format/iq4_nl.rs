//! IQ4_NL: blocks of 32 with a scale and four-bit codes that stand for unevenly spaced weights, `w
//! = d BOOK[q]`.

use bytemuck::Zeroable;

use super::{
    Decoded, Format, Halves,
    codes::{Book, Codes, FileCodes, Plane},
    half_at,
    sums::Centred,
    widen,
};
use crate::{activation::Quantised, simd::Simd};

/// See the module.
pub(crate) struct Iq4Nl;

/// Closer together the smaller they are; they use all eight bits.
pub(super) const BOOK: Book =
    Book::new([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], 128);

#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(32))]
pub(crate) struct Block {
    codes: Plane<4>,
    scale: Halves,
}

impl Format for Iq4Nl {
    type Block = Block;
    type Unit = Quantised;
    const UNITS: usize = 1;
    const FILE_BYTES: usize = 18;

    fn pack(block: &mut Block, lane: usize, bytes: &[u8]) {
        block.scale[lane] = half_at(bytes);
        block.codes.take(lane, &bytes[2..]);
    }

    fn unpack(block: &Block, lane: usize, weights: &mut [f32]) {
        let scale = widen(block.scale[lane]);
        for (input, weight) in weights.iter_mut().enumerate() {
            *weight = scale * BOOK.weight(block.codes.get(lane, input));
        }
    }

    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &Block, _: usize) -> impl Decoded<S, Quantised> {
        Centred::<S, true> {
            codes: BOOK.raised(s, block.codes.load(s)),
            zero: 128,
            scale: s.load_f16(&block.scale),
        }
    }
}
