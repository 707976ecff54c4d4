//! Q4_K and Q5_K: blocks of 256 with a scale and a minimum, in sub-blocks of 32 with six-bit shares
//! of either, and codes of four or five bits, `w = d s q - dmin m`.

use std::marker::PhantomData;

use bytemuck::Zeroable;

use super::{
    Decoded, Format, Halves,
    codes::{Codes, Joined, Plane},
    half_at,
    sums::WithMin,
    widen,
};
use crate::{
    activation::{Quantised, UNIT},
    simd::{LANES, Simd},
};

/// See the module.
pub(crate) struct KMin<C>(PhantomData<C>);

/// Four bits.
pub(crate) type Q4K = KMin<Plane<4>>;
/// Five bits.
pub(crate) type Q5K = KMin<Joined<4, 1>>;

#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(32))]
pub(crate) struct Block<C> {
    units: [Part<C>; 8],
    scale: Halves,
    min: Halves,
}

/// A sub-block.
#[derive(Clone, Copy, Zeroable)]
#[repr(C)]
struct Part<C> {
    codes: C,
    scales: [i8; LANES],
    mins: [i8; LANES],
}

/// How a file's block holds codes, after the scales and minima.
pub(crate) trait BlockCodes: Codes {
    /// Bytes of all codes.
    const FILE_BYTES: usize;
    /// The code of an input of a unit.
    fn code(bytes: &[u8], unit: usize, input: usize) -> u8;
}

/// Two units share bytes.
impl BlockCodes for Plane<4> {
    const FILE_BYTES: usize = 128;

    fn code(bytes: &[u8], unit: usize, input: usize) -> u8 {
        bytes[32 * (unit / 2) + input] >> (unit % 2 * 4) & 15
    }
}

/// All eight units share the bytes of their high bits, which come first.
impl BlockCodes for Joined<4, 1> {
    const FILE_BYTES: usize = 32 + 128;

    fn code(bytes: &[u8], unit: usize, input: usize) -> u8 {
        let (high, low) = bytes.split_at(32);
        Plane::<4>::code(low, unit, input) | (high[input] >> unit & 1) << 4
    }
}

/// The scale and the minimum of a sub-block. Those of the first four have the low six bits of a
/// byte each; the others have four bits in a byte that they share, and two bits above those six.
fn shares(packed: &[u8], unit: usize) -> (u8, u8) {
    if unit < 4 {
        return (packed[unit] & 63, packed[4 + unit] & 63);
    }
    let (scale_top, min_top) = (packed[unit - 4] >> 6, packed[unit] >> 6);
    (packed[4 + unit] & 15 | scale_top << 4, packed[4 + unit] >> 4 | min_top << 4)
}

impl<C: BlockCodes> Format for KMin<C> {
    type Block = Block<C>;
    type Unit = Quantised;
    const UNITS: usize = 8;
    const FILE_BYTES: usize = 16 + C::FILE_BYTES;

    fn pack(block: &mut Block<C>, lane: usize, bytes: &[u8]) {
        let (head, codes) = bytes.split_at(16);
        block.scale[lane] = half_at(head);
        block.min[lane] = half_at(&head[2..]);
        for (unit, part) in block.units.iter_mut().enumerate() {
            let (scale, min) = shares(&head[4..], unit);
            part.scales[lane] = scale.cast_signed();
            part.mins[lane] = min.cast_signed();
            for input in 0..UNIT {
                part.codes.set(lane, input, C::code(codes, unit, input));
            }
        }
    }

    fn unpack(block: &Block<C>, lane: usize, weights: &mut [f32]) {
        let (scale, min) = (widen(block.scale[lane]), widen(block.min[lane]));
        for (part, weights) in block.units.iter().zip(weights.chunks_mut(UNIT)) {
            let scale = scale * f32::from(part.scales[lane]);
            let min = min * f32::from(part.mins[lane]);
            for (input, weight) in weights.iter_mut().enumerate() {
                *weight = scale * f32::from(part.codes.get(lane, input)) - min;
            }
        }
    }

    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &Block<C>, unit: usize) -> impl Decoded<S, Quantised> {
        let part = &block.units[unit];
        // Halves times six bits: nothing is rounded.
        let scale = s.mul(s.load_f16(&block.scale), s.to_f32(s.load_i8(&part.scales)));
        let min = s.mul(s.load_f16(&block.min), s.to_f32(s.load_i8(&part.mins)));
        WithMin::<S> { codes: part.codes.load(s), scale, min: s.sub(s.zero(), min) }
    }
}
