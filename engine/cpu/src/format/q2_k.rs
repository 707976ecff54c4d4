//! Q2_K: blocks of 256 with a scale and a minimum, in sub-blocks of 16 with four-bit shares of
//! either, two-bit codes, `w = d s q - dmin m`.

use bytemuck::Zeroable;

use super::{
    Format, Halves,
    codes::{Codes, Plane},
    half_at,
    sums::scaled_halves_with_mins,
    widen,
};
use crate::{
    activation::{Quantised, Rows, UNIT},
    simd::{LANES, Simd},
};

/// See the module.
pub(crate) struct Q2K;

#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(32))]
pub(crate) struct Block {
    codes: [Plane<2>; 8],
    /// Byte `4 lane + i` of line `l` is the share of sub-block `4 l + i`: the scale in the low
    /// half, the minimum in the high half.
    shares: [[u8; 4 * LANES]; 4],
    scale: Halves,
    min: Halves,
}

impl Block {
    fn share(&self, lane: usize, sub_block: usize) -> u8 {
        self.shares[sub_block / 4][4 * lane + sub_block % 4]
    }
}

/// One of the four bytes of each lane; they are at most 127.
#[inline(always)]
fn byte<S: Simd, const WHICH: usize>(s: S, bytes: S::B) -> S::I {
    let mut one = [0; 4];
    one[WHICH] = 1;
    s.dot(s.splat_i32(0), bytes, &one)
}

impl Format for Q2K {
    type Block = Block;
    type Unit = Quantised;
    const UNITS: usize = 8;
    const FILE_BYTES: usize = 84;

    fn pack(block: &mut Block, lane: usize, bytes: &[u8]) {
        let (shares, rest) = bytes.split_at(16);
        let (codes, scales) = rest.split_at(64);
        block.scale[lane] = half_at(scales);
        block.min[lane] = half_at(&scales[2..]);
        for (line, shares) in block.shares.iter_mut().zip(shares.as_chunks::<4>().0) {
            line[4 * lane..][..4].copy_from_slice(shares);
        }
        for (unit, plane) in block.codes.iter_mut().enumerate() {
            // Four units share bytes.
            for input in 0..UNIT {
                let code = codes[32 * (unit / 4) + input] >> (unit % 4 * 2) & 3;
                plane.set(lane, input, code);
            }
        }
    }

    fn unpack(block: &Block, lane: usize, weights: &mut [f32]) {
        let (scale, min) = (widen(block.scale[lane]), widen(block.min[lane]));
        for (i, weight) in weights.iter_mut().enumerate() {
            let share = block.share(lane, i / 16);
            let code = f32::from(block.codes[i / UNIT].get(lane, i % UNIT));
            *weight = scale * f32::from(share & 15) * code - min * f32::from(share >> 4);
        }
    }

    #[inline(always)]
    fn accumulate<S: Simd, const R: usize>(
        s: S,
        block: &Block,
        x: Rows<'_, Quantised>,
        sums: &mut [S::F; R],
    ) {
        let scale = (s.load_f16(&block.scale), s.load_f16(&block.min));
        for (pair, codes) in block.codes.as_chunks::<2>().0.iter().enumerate() {
            let shares = s.load_bytes(&block.shares[pair]);
            let (scales, mins) = (s.bits::<0>(shares, 15), s.bits::<4>(shares, 15));
            let first = (
                [byte::<S, 0>(s, scales), byte::<S, 1>(s, scales)],
                [byte::<S, 0>(s, mins), byte::<S, 1>(s, mins)],
            );
            let second = (
                [byte::<S, 2>(s, scales), byte::<S, 3>(s, scales)],
                [byte::<S, 2>(s, mins), byte::<S, 3>(s, mins)],
            );
            let (x, more) = (x.at::<R>(2 * pair), x.at::<R>(2 * pair + 1));
            scaled_halves_with_mins(s, &codes[0].load(s), scale, first, x, sums);
            scaled_halves_with_mins(s, &codes[1].load(s), scale, second, more, sums);
        }
    }
}
