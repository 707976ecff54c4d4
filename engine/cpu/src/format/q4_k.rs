//! Q4_K: blocks of 256 with four-bit codes, scales and minima.

use super::{Format, codes::Plane, k_min::Block};
use crate::{
    activation::{Quantised, Rows},
    simd::Simd,
};

/// See the module.
pub(crate) struct Q4K;

impl Format for Q4K {
    type Block = Block<Plane<4>>;
    type Unit = Quantised;
    const UNITS: usize = 8;
    const FILE_BYTES: usize = 144;

    fn pack(block: &mut Self::Block, lane: usize, bytes: &[u8]) {
        let (head, codes) = bytes.split_at(Self::Block::HEAD);
        // Two units share bytes.
        block.set(lane, head, |unit, input| codes[32 * (unit / 2) + input] >> (unit % 2 * 4) & 15);
    }

    fn unpack(block: &Self::Block, lane: usize, weights: &mut [f32]) {
        block.get(lane, weights);
    }

    #[inline(always)]
    fn accumulate<S: Simd, const R: usize>(
        s: S,
        block: &Self::Block,
        x: Rows<'_, Quantised>,
        sums: &mut [S::F; R],
    ) {
        block.add(s, x, sums);
    }
}
