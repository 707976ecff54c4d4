//! Q3_K and Q6_K: blocks of 256 with a scale, in sub-blocks of 16 with scales of their own, and
//! codes of three or six bits around a zero point, `w = d s (q - zero)`.

use std::marker::PhantomData;

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
pub(crate) struct KZero<C>(PhantomData<C>);

/// Three bits.
pub(crate) type Q3K = KZero<Joined<2, 1>>;
/// Six bits.
pub(crate) type Q6K = KZero<Joined<4, 2>>;

#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(32))]
pub(crate) struct Block<C> {
    units: [Part<C>; 8],
    scale: Halves,
}

/// A unit's share of a block.
#[derive(Clone, Copy, Zeroable)]
#[repr(C)]
struct Part<C> {
    codes: C,
    /// Of the unit's two sub-blocks.
    scales: [[i8; LANES]; 2],
}

/// How a file's block holds codes and the sub-blocks' scales; the block's scale is behind them.
pub(crate) trait BlockCodes: Codes {
    /// The code that stands for zero.
    const ZERO: u8;
    /// Bytes of codes and scales.
    const FILE_BYTES: usize;
    /// The code of an input of a unit.
    fn code(bytes: &[u8], unit: usize, input: usize) -> u8;
    /// The scale of a sub-block.
    fn scale(bytes: &[u8], sub_block: usize) -> i8;
}

/// The high bits of all codes, the low ones, the scales.
impl BlockCodes for Joined<2, 1> {
    const ZERO: u8 = 4;
    const FILE_BYTES: usize = 32 + 64 + 12;

    /// Four units share the bytes of their low bits, and all eight those of their high bits.
    fn code(bytes: &[u8], unit: usize, input: usize) -> u8 {
        let (high, low) = bytes.split_at(32);
        let low = low[32 * (unit / 4) + input] >> (unit % 4 * 2) & 3;
        low | (high[input] >> unit & 1) << 2
    }

    /// Less 32. Eight bytes hold the low four bits of all, four more the high two.
    fn scale(bytes: &[u8], sub_block: usize) -> i8 {
        let packed = &bytes[32 + 64..];
        let low = packed[sub_block % 8] >> (sub_block / 8 * 4) & 15;
        let high = packed[8 + sub_block % 4] >> (sub_block / 4 * 2) & 3;
        (low | high << 4).cast_signed() - 32
    }
}

/// The low bits of all codes, the high ones, the scales.
impl BlockCodes for Joined<4, 2> {
    const ZERO: u8 = 32;
    const FILE_BYTES: usize = 128 + 64 + 16;

    /// A block is two halves of four units; units 0 and 1 of a half have the low bits of its bytes,
    /// units 2 and 3 the high ones.
    fn code(bytes: &[u8], unit: usize, input: usize) -> u8 {
        let (low, high) = bytes.split_at(128);
        let (half, quarter) = (unit / 4, unit % 4);
        let low = low[64 * half + 32 * (quarter % 2) + input] >> (quarter / 2 * 4) & 15;
        let high = high[32 * half + input] >> (2 * quarter) & 3;
        low | high << 4
    }

    fn scale(bytes: &[u8], sub_block: usize) -> i8 {
        bytes[128 + 64 + sub_block].cast_signed()
    }
}

impl<C: BlockCodes> Format for KZero<C> {
    type Block = Block<C>;
    type Unit = Quantised;
    const UNITS: usize = 8;
    const FILE_BYTES: usize = C::FILE_BYTES + 2;

    fn pack(block: &mut Block<C>, lane: usize, bytes: &[u8]) {
        block.scale[lane] = half_at(&bytes[C::FILE_BYTES..]);
        for (unit, part) in block.units.iter_mut().enumerate() {
            for input in 0..UNIT {
                part.codes.set(lane, input, C::code(bytes, unit, input));
            }
            for (i, of_sub_block) in part.scales.iter_mut().enumerate() {
                of_sub_block[lane] = C::scale(bytes, 2 * unit + i);
            }
        }
    }

    fn unpack(block: &Block<C>, lane: usize, weights: &mut [f32]) {
        let scale = widen(block.scale[lane]);
        for (i, weight) in weights.iter_mut().enumerate() {
            let (part, input) = (&block.units[i / UNIT], i % UNIT);
            let code = f32::from(part.codes.get(lane, input)) - f32::from(C::ZERO);
            *weight = scale * f32::from(part.scales[input / 16][lane]) * code;
        }
    }

    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &Block<C>, unit: usize) -> impl Decoded<S, Quantised> {
        let (part, scale) = (&block.units[unit], s.load_f16(&block.scale));
        sums::Halves::<S> {
            codes: part.codes.load(s),
            zero: C::ZERO.into(),
            // Halves of 16 bits times eight: nothing is rounded.
            scales: [
                s.mul(scale, s.to_f32(s.load_i8(&part.scales[0]))),
                s.mul(scale, s.to_f32(s.load_i8(&part.scales[1]))),
            ],
        }
    }
}
