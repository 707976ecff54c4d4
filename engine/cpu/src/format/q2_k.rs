//! Q2_K: blocks of 256 with a scale and a minimum, in sub-blocks of 16 with four-bit shares of
//! either, two-bit codes, `w = d s q - dmin m`.

use bytemuck::Zeroable;

use super::{
    Decoded, Format, Halves,
    codes::{Codes, Plane},
    half_at,
    sums::{self, HalvesWithMins},
    widen,
};
use crate::{
    activation::{Quantised, UNIT},
    simd::{LANES, Simd},
};

/// See the module.
pub(crate) struct Q2K;

#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(32))]
pub(crate) struct Block {
    codes: [Plane<2>; 8],
    /// Line `l` is the shares of units `2 l` and `2 l + 1`. A lane has the first sub-blocks of
    /// both, then their second ones: the scale in the low half of a byte, the minimum in the high.
    shares: [[u8; 4 * LANES]; 4],
    scale: Halves,
    min: Halves,
}

impl Block {
    /// Line and byte of a sub-block's share.
    fn place(lane: usize, sub_block: usize) -> (usize, usize) {
        (sub_block / 4, 4 * lane + sub_block % 2 * 2 + sub_block / 2 % 2)
    }

    fn share(&self, lane: usize, sub_block: usize) -> u8 {
        let (line, byte) = Self::place(lane, sub_block);
        self.shares[line][byte]
    }
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
        for (sub_block, share) in shares.iter().enumerate() {
            let (line, byte) = Block::place(lane, sub_block);
            block.shares[line][byte] = *share;
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
    fn decode<S: Simd>(s: S, block: &Block, unit: usize) -> impl Decoded<S, Quantised> {
        let (line, shift) = (s.load_bytes(&block.shares[unit / 2]), unit as u32 % 2 * 8);
        let (scale, scales) = (s.load_f16(&block.scale), s.halves(line, shift, 15));
        HalvesWithMins::<S> {
            halves: sums::Halves {
                codes: block.codes[unit].load(s),
                zero: 0,
                scales: [
                    s.mul(scale, s.to_f32(s.dot_halves(scales, [1, 0]))),
                    s.mul(scale, s.to_f32(s.dot_halves(scales, [0, 1]))),
                ],
            },
            min: s.load_f16(&block.min),
            mins: s.halves(line, shift + 4, 15),
        }
    }
}
