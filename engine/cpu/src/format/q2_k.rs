//! Q2_K: blocks of 256 with a scale and a minimum, in sub-blocks of 16 with four-bit shares of
//! either, two-bit codes, `w = d s q - dmin m`.

use bytemuck::Zeroable;

use super::{
    Decoded, Format, Halves,
    codes::{Codes, Plane},
    half_at,
    sums::{Unit, WithMins},
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

/// The two bytes of each lane that are a unit's; they are at most 127.
#[inline(always)]
fn pick<S: Simd>(s: S, bytes: S::B, unit: usize) -> [S::I; 2] {
    let none = s.splat_i32(0);
    let first = [[1, 0, 0, 0], [0, 0, 1, 0]][unit % 2];
    let second = [[0, 1, 0, 0], [0, 0, 0, 1]][unit % 2];
    [s.dot(none, bytes, &first), s.dot(none, bytes, &second)]
}

/// `s q`, which is at most 45.
#[inline(always)]
fn scaled<S: Simd>(s: S, codes: Unit<S>, scales: [S::I; 2]) -> Unit<S> {
    let none = s.splat_i32(0);
    [
        s.map_bytes(codes[0], scales[0], none),
        s.map_bytes(codes[1], scales[0], none),
        s.map_bytes(codes[2], scales[0], none),
        s.map_bytes(codes[3], scales[0], none),
        s.map_bytes(codes[4], scales[1], none),
        s.map_bytes(codes[5], scales[1], none),
        s.map_bytes(codes[6], scales[1], none),
        s.map_bytes(codes[7], scales[1], none),
    ]
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
    fn decode<S: Simd>(s: S, block: &Block, unit: usize) -> impl Decoded<S, Quantised> {
        let shares = s.load_bytes(&block.shares[unit / 2]);
        let (scales, mins) = (s.bits::<0>(shares, 15), s.bits::<4>(shares, 15));
        let scales = pick(s, scales, unit);
        let mins = pick(s, mins, unit);
        WithMins::<S> {
            codes: scaled(s, block.codes[unit].load(s), scales),
            scale: s.load_f16(&block.scale),
            min: s.load_f16(&block.min),
            mins: s.pair(mins[0], mins[1]),
        }
    }
}
