//! What Q4_K and Q5_K share: blocks of 256 with a scale and a minimum, in sub-blocks of 32 with
//! six-bit shares of either, `w = d s q - dmin m`.

use bytemuck::Zeroable;

use super::{Halves, codes::Codes, half_at, sums::scaled_with_min, widen};
use crate::{
    activation::{Quantised, Rows, UNIT},
    simd::{LANES, Simd},
};

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

/// The scale and the minimum of a sub-block. Those of the first four have the low six bits of a
/// byte each; the others have four bits in a byte that they share, and two bits above those six.
fn shares(packed: &[u8], unit: usize) -> (u8, u8) {
    if unit < 4 {
        return (packed[unit] & 63, packed[4 + unit] & 63);
    }
    let (scale_top, min_top) = (packed[unit - 4] >> 6, packed[unit] >> 6);
    (packed[4 + unit] & 15 | scale_top << 4, packed[4 + unit] >> 4 | min_top << 4)
}

impl<C: Codes> Block<C> {
    /// Bytes before the codes.
    pub(super) const HEAD: usize = 16;

    /// `code` gives the code of an input of a unit.
    pub(super) fn set(&mut self, lane: usize, head: &[u8], code: impl Fn(usize, usize) -> u8) {
        self.scale[lane] = half_at(head);
        self.min[lane] = half_at(&head[2..]);
        for (unit, part) in self.units.iter_mut().enumerate() {
            let (scale, min) = shares(&head[4..], unit);
            part.scales[lane] = scale.cast_signed();
            part.mins[lane] = min.cast_signed();
            for input in 0..UNIT {
                part.codes.set(lane, input, code(unit, input));
            }
        }
    }

    pub(super) fn get(&self, lane: usize, weights: &mut [f32]) {
        let (scale, min) = (widen(self.scale[lane]), widen(self.min[lane]));
        for (part, weights) in self.units.iter().zip(weights.chunks_mut(UNIT)) {
            let scale = scale * f32::from(part.scales[lane]);
            let min = min * f32::from(part.mins[lane]);
            for (input, weight) in weights.iter_mut().enumerate() {
                *weight = scale * f32::from(part.codes.get(lane, input)) - min;
            }
        }
    }

    #[inline(always)]
    pub(super) fn add<S: Simd, const R: usize>(
        &self,
        s: S,
        x: Rows<'_, Quantised>,
        sums: &mut [S::F; R],
    ) {
        let (scale, min) = (s.load_f16(&self.scale), s.load_f16(&self.min));
        for (unit, part) in self.units.iter().enumerate() {
            let codes = part.codes.load(s);
            let min = s.mul(min, s.to_f32(s.load_i8(&part.mins)));
            let scales = (scale, s.load_i8(&part.scales), min);
            scaled_with_min(s, &codes, scales, x.at::<R>(unit), sums);
        }
    }
}
