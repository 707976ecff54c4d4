//! Q4_0: blocks of 32 with four-bit codes and a scale, `w = d (q - 8)`.

use bytemuck::Zeroable;

use super::{
    Format, Halves,
    codes::{Codes, Plane},
    half_at,
    sums::centred,
    widen,
};
use crate::{
    activation::{Quantised, Rows},
    simd::Simd,
};

/// See the module.
pub(crate) struct Q4_0;

#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(32))]
pub(crate) struct Block {
    codes: Plane<4>,
    scale: Halves,
}

impl Format for Q4_0 {
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
            *weight = scale * (f32::from(block.codes.get(lane, input)) - 8.0);
        }
    }

    #[inline(always)]
    fn accumulate<S: Simd, const R: usize>(
        s: S,
        block: &Block,
        x: Rows<'_, Quantised>,
        sums: &mut [S::F; R],
    ) {
        let (codes, scale) = (block.codes.load(s), s.load_f16(&block.scale));
        centred(s, (&codes, 8), scale, x.at::<R>(0), sums);
    }
}
