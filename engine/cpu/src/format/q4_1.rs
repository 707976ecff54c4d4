//! Q4_1: blocks of 32 with four-bit codes, a scale and a minimum, `w = d q + m`.

use bytemuck::Zeroable;

use super::{
    Format, Halves,
    codes::{Codes, Plane},
    half_at,
    sums::with_min,
    widen,
};
use crate::{
    activation::{Quantised, Rows},
    simd::Simd,
};

/// See the module.
pub(crate) struct Q4_1;

#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    codes: Plane<4>,
    scale: Halves,
    min: Halves,
}

impl Format for Q4_1 {
    type Block = Block;
    type Unit = Quantised;
    const UNITS: usize = 1;
    const FILE_BYTES: usize = 20;

    fn pack(block: &mut Block, lane: usize, bytes: &[u8]) {
        block.scale[lane] = half_at(bytes);
        block.min[lane] = half_at(&bytes[2..]);
        block.codes.take(lane, &bytes[4..]);
    }

    fn unpack(block: &Block, lane: usize, weights: &mut [f32]) {
        let (scale, min) = (widen(block.scale[lane]), widen(block.min[lane]));
        for (input, weight) in weights.iter_mut().enumerate() {
            *weight = scale * f32::from(block.codes.get(lane, input)) + min;
        }
    }

    #[inline(always)]
    fn accumulate<S: Simd, const R: usize>(
        s: S,
        block: &Block,
        x: Rows<'_, Quantised>,
        sums: &mut [S::F; R],
    ) {
        let scales = (s.load_f16(&block.scale), s.load_f16(&block.min));
        with_min(s, &block.codes.load(s), scales, x.at::<R>(0), sums);
    }
}
