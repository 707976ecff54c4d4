//! Q3_K: blocks of 256 with a scale, in sub-blocks of 16 with scales of their own, three-bit codes,
//! `w = d (s - 32) (q - 4)`.

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
pub(crate) struct Q3K;

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
    codes: Joined<2, 1>,
    /// `s - 32` of the unit's two sub-blocks.
    scales: [[i8; LANES]; 2],
}

/// The scale of a sub-block, less 32. Eight bytes hold the low four bits of all, four more the high
/// two.
fn share(packed: &[u8], sub_block: usize) -> i8 {
    let low = packed[sub_block % 8] >> (sub_block / 8 * 4) & 15;
    let high = packed[8 + sub_block % 4] >> (sub_block / 4 * 2) & 3;
    (low | high << 4).cast_signed() - 32
}

impl Format for Q3K {
    type Block = Block;
    type Unit = Quantised;
    const UNITS: usize = 8;
    const FILE_BYTES: usize = 110;

    fn pack(block: &mut Block, lane: usize, bytes: &[u8]) {
        let (high, rest) = bytes.split_at(32);
        let (low, rest) = rest.split_at(64);
        let (scales, scale) = rest.split_at(12);
        block.scale[lane] = half_at(scale);
        for (unit, part) in block.units.iter_mut().enumerate() {
            for input in 0..UNIT {
                // Four units share the bytes of their low bits, and all eight those of their high
                // bits.
                let low = low[32 * (unit / 4) + input] >> (unit % 4 * 2) & 3;
                let high = high[input] >> unit & 1;
                part.codes.set(lane, input, low | high << 2);
            }
            for (i, of_sub_block) in part.scales.iter_mut().enumerate() {
                of_sub_block[lane] = share(scales, 2 * unit + i);
            }
        }
    }

    fn unpack(block: &Block, lane: usize, weights: &mut [f32]) {
        let scale = widen(block.scale[lane]);
        for (i, weight) in weights.iter_mut().enumerate() {
            let (part, input) = (&block.units[i / UNIT], i % UNIT);
            let of_sub_block = f32::from(part.scales[input / 16][lane]);
            *weight = scale * of_sub_block * (f32::from(part.codes.get(lane, input)) - 4.0);
        }
    }

    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &Block, unit: usize) -> impl Decoded<S, Quantised> {
        let (part, scale) = (&block.units[unit], s.load_f16(&block.scale));
        sums::Halves::<S> {
            codes: part.codes.load(s),
            zero: 4,
            // Halves of 16 bits times eight: nothing is rounded.
            scales: [
                s.mul(scale, s.to_f32(s.load_i8(&part.scales[0]))),
                s.mul(scale, s.to_f32(s.load_i8(&part.scales[1]))),
            ],
        }
    }
}
