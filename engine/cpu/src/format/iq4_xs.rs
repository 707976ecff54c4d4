//! IQ4_XS: blocks of 256 with a scale, in sub-blocks of 32 with scales of their own, with the codes
//! of IQ4_NL, `w = d (s - 32) BOOK[q]`.

use bytemuck::Zeroable;

use super::{
    Decoded, Format, Halves,
    codes::{Codes, FileCodes, Plane},
    half_at,
    iq4_nl::BOOK,
    sums::Centred,
    widen,
};
use crate::{
    activation::{Quantised, UNIT},
    simd::{LANES, Simd},
};

/// See the module.
pub(crate) struct Iq4Xs;

#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(32))]
pub(crate) struct Block {
    units: [Part; 8],
    scale: Halves,
}

/// A sub-block.
#[derive(Clone, Copy, Zeroable)]
#[repr(C)]
struct Part {
    codes: Plane<4>,
    /// `s - 32`.
    scales: [i8; LANES],
}

impl Format for Iq4Xs {
    type Block = Block;
    type Unit = Quantised;
    const UNITS: usize = 8;
    const FILE_BYTES: usize = 136;

    fn pack(block: &mut Block, lane: usize, bytes: &[u8]) {
        let (scales, codes) = bytes.split_at(8);
        block.scale[lane] = half_at(scales);
        let (high, low) = (u16::from_le_bytes([scales[2], scales[3]]), &scales[4..]);
        for (unit, (part, codes)) in block.units.iter_mut().zip(codes.chunks(16)).enumerate() {
            let low = low[unit / 2] >> (unit % 2 * 4) & 15;
            let high = (high >> (2 * unit) & 3) as u8;
            part.scales[lane] = (low | high << 4).cast_signed() - 32;
            part.codes.take(lane, codes);
        }
    }

    fn unpack(block: &Block, lane: usize, weights: &mut [f32]) {
        let scale = widen(block.scale[lane]);
        for (part, weights) in block.units.iter().zip(weights.chunks_mut(UNIT)) {
            let scale = scale * f32::from(part.scales[lane]);
            for (input, weight) in weights.iter_mut().enumerate() {
                *weight = scale * BOOK.weight(part.codes.get(lane, input));
            }
        }
    }

    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &Block, unit: usize) -> impl Decoded<S, Quantised> {
        let part = &block.units[unit];
        // Halves times six bits: nothing is rounded.
        let scale = s.mul(s.load_f16(&block.scale), s.to_f32(s.load_i8(&part.scales)));
        Centred::<S, true> { codes: BOOK.raised(s, part.codes.load(s)), zero: 128, scale }
    }
}
