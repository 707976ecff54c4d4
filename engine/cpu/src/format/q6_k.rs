//! Q6_K: blocks of 256 with a scale, in sub-blocks of 16 with scales of their own, `w = d s (q -
//! 32)`.

use bytemuck::Zeroable;

use super::{
    Decoded, Format, Halves,
    codes::{Codes, Joined},
    half_at, sums, widen,
};
use crate::{
    activation::{Quantised, UNIT},
    simd::{LANES, Simd},
};

/// See the module.
pub(crate) struct Q6K;

#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(32))]
pub(crate) struct Block {
    units: [Part; 8],
    scale: Halves,
}

/// A unit's share of a block.
#[derive(Clone, Copy, Zeroable)]
#[repr(C)]
struct Part {
    codes: Joined<4, 2>,
    /// The scales of the unit's two sub-blocks.
    scales: [[i8; LANES]; 2],
}

impl Format for Q6K {
    type Block = Block;
    type Unit = Quantised;
    const UNITS: usize = 8;
    const FILE_BYTES: usize = 210;

    fn pack(block: &mut Block, lane: usize, bytes: &[u8]) {
        let (low, rest) = bytes.split_at(128);
        let (high, rest) = rest.split_at(64);
        let (scales, scale) = rest.split_at(16);
        block.scale[lane] = half_at(scale);
        for (unit, part) in block.units.iter_mut().enumerate() {
            // A file's block is two halves of four units; units 0 and 1 of a half have the low bits
            // of its bytes, units 2 and 3 the high ones.
            let (half, quarter) = (unit / 4, unit % 4);
            for input in 0..UNIT {
                let low = low[64 * half + 32 * (quarter % 2) + input] >> (quarter / 2 * 4) & 15;
                let high = high[32 * half + input] >> (2 * quarter) & 3;
                part.codes.set(lane, input, low | high << 4);
            }
            for (i, of_sub_block) in part.scales.iter_mut().enumerate() {
                of_sub_block[lane] = scales[2 * unit + i].cast_signed();
            }
        }
    }

    fn unpack(block: &Block, lane: usize, weights: &mut [f32]) {
        let scale = widen(block.scale[lane]);
        for (i, weight) in weights.iter_mut().enumerate() {
            let (part, input) = (&block.units[i / UNIT], i % UNIT);
            let of_sub_block = f32::from(part.scales[input / 16][lane]);
            *weight = scale * of_sub_block * (f32::from(part.codes.get(lane, input)) - 32.0);
        }
    }

    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &Block, unit: usize) -> impl Decoded<S, Quantised> {
        let (part, scale) = (&block.units[unit], s.load_f16(&block.scale));
        sums::Halves::<S> {
            codes: part.codes.load(s),
            zero: 32,
            // Halves of 16 bits times eight: nothing is rounded.
            scales: [
                s.mul(scale, s.to_f32(s.load_i8(&part.scales[0]))),
                s.mul(scale, s.to_f32(s.load_i8(&part.scales[1]))),
            ],
        }
    }
}
