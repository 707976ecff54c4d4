//! Q5_K: blocks of 256 with five-bit codes, scales and minima.

use super::{Format, codes::Joined, k_min::Block};
use crate::{
    activation::{Quantised, Rows},
    simd::Simd,
};

/// See the module.
pub(crate) struct Q5K;

impl Format for Q5K {
    type Block = Block<Joined<4, 1>>;
    type Unit = Quantised;
    const UNITS: usize = 8;
    const FILE_BYTES: usize = 176;

    fn pack(block: &mut Self::Block, lane: usize, bytes: &[u8]) {
        let (head, codes) = bytes.split_at(Self::Block::HEAD);
        let (high, low) = codes.split_at(32);
        // Two units share the bytes of their low bits, and all eight those of their high bits.
        block.set(lane, head, |unit, input| {
            let low = low[32 * (unit / 2) + input] >> (unit % 2 * 4) & 15;
            low | (high[input] >> unit & 1) << 4
        });
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
