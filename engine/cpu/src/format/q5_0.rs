//! Q5_0: blocks of 32 with five-bit codes and a scale, `w = d (q - 16)`.

use bytemuck::Zeroable;

use super::{
    Format, Halves,
    codes::{Codes, Joined},
    half_at,
    sums::centred,
    widen,
};
use crate::{
    activation::{Quantised, Rows},
    simd::Simd,
};

/// See the module.
pub(crate) struct Q5_0;

#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(32))]
pub(crate) struct Block {
    codes: Joined<4, 1>,
    scale: Halves,
}

impl Format for Q5_0 {
    type Block = Block;
    type Unit = Quantised;
    const UNITS: usize = 1;
    const FILE_BYTES: usize = 22;

    fn pack(block: &mut Block, lane: usize, bytes: &[u8]) {
        block.scale[lane] = half_at(bytes);
        block.codes.take(lane, &bytes[6..], &bytes[2..6]);
    }

    fn unpack(block: &Block, lane: usize, weights: &mut [f32]) {
        let scale = widen(block.scale[lane]);
        for (input, weight) in weights.iter_mut().enumerate() {
            *weight = scale * (f32::from(block.codes.get(lane, input)) - 16.0);
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
        centred(s, (&codes, 16), scale, x.at::<R>(0), sums);
    }
}
