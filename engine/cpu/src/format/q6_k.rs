//! Q6_K: blocks of 256 with a scale, in sub-blocks of 16 with scales of their own, `w = d s (q -
//! 32)`.

use bytemuck::Zeroable;

use super::{Format, Halves, dots, half_at, widen};
use crate::{
    activation::{Activations, Quantised, Rows, UNIT, Wanted},
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
    /// The low four bits of the codes, as in Q4_1.
    low: [[u8; 64]; 4],
    /// Bits `2 k` and `2 k + 1` of byte `4 lane + i` of line `l` are the high two bits of input
    /// `4 (l + 2 k) + i`.
    high: [[u8; 64]; 2],
    /// The scales of the unit's two sub-blocks.
    scales: [[i8; LANES]; 2],
}

impl Part {
    fn set(&mut self, lane: usize, input: usize, code: u8) {
        let (group, byte) = (input / 4, 4 * lane + input % 4);
        self.low[group % 4][byte] |= (code & 15) << (group / 4 * 4);
        self.high[group % 2][byte] |= (code >> 4) << (group / 2 * 2);
    }

    fn get(&self, lane: usize, input: usize) -> u8 {
        let (group, byte) = (input / 4, 4 * lane + input % 4);
        let low = self.low[group % 4][byte] >> (group / 4 * 4) & 15;
        let high = self.high[group % 2][byte] >> (group / 2 * 2) & 3;
        low | high << 4
    }

    /// The codes, four inputs of all lanes in each.
    #[inline(always)]
    fn codes<S: Simd>(&self, s: S) -> [S::B; 8] {
        let low = [
            s.load_bytes(&self.low[0]),
            s.load_bytes(&self.low[1]),
            s.load_bytes(&self.low[2]),
            s.load_bytes(&self.low[3]),
        ];
        let high = [s.load_bytes(&self.high[0]), s.load_bytes(&self.high[1])];
        [
            s.or(s.bits::<0>(low[0], 15), s.raise::<4>(s.bits::<0>(high[0], 3))),
            s.or(s.bits::<0>(low[1], 15), s.raise::<4>(s.bits::<0>(high[1], 3))),
            s.or(s.bits::<0>(low[2], 15), s.raise::<4>(s.bits::<2>(high[0], 3))),
            s.or(s.bits::<0>(low[3], 15), s.raise::<4>(s.bits::<2>(high[1], 3))),
            s.or(s.bits::<4>(low[0], 15), s.raise::<4>(s.bits::<4>(high[0], 3))),
            s.or(s.bits::<4>(low[1], 15), s.raise::<4>(s.bits::<4>(high[1], 3))),
            s.or(s.bits::<4>(low[2], 15), s.raise::<4>(s.bits::<6>(high[0], 3))),
            s.or(s.bits::<4>(low[3], 15), s.raise::<4>(s.bits::<6>(high[1], 3))),
        ]
    }
}

impl Format for Q6K {
    type Block = Block;
    type Unit = Quantised;
    const UNITS: usize = 8;
    const FILE_BYTES: usize = 210;
    const WANTED: Wanted = Wanted { quantised: true, floats: false };

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
                part.set(lane, input, low | high << 4);
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
            *weight = scale * of_sub_block * (f32::from(part.get(lane, input)) - 32.0);
        }
    }

    fn units(x: &Activations, row: usize) -> Rows<'_, Quantised> {
        x.quantised(row)
    }

    #[inline(always)]
    fn accumulate<S: Simd, const R: usize>(
        s: S,
        block: &Block,
        x: Rows<'_, Quantised>,
        sums: &mut [S::F; R],
    ) {
        let scale = s.load_f16(&block.scale);
        for (unit, part) in block.units.iter().enumerate() {
            let codes = part.codes(s);
            let scales = [s.load_i8(&part.scales[0]), s.load_i8(&part.scales[1])];
            for (x, sum) in x.at::<R>(unit).iter().zip(sums.iter_mut()) {
                // 32 too much in every code. Each product is below 2^24, so their sum fits.
                let low = dots(s, s.splat_i32(x.minus[0] << 5), &codes[..4], &x.codes[..4]);
                let high = dots(s, s.splat_i32(x.minus[1] << 5), &codes[4..], &x.codes[4..]);
                let dot = s.add_i32(s.mul_i32(low, scales[0]), s.mul_i32(high, scales[1]));
                *sum = s.fma(s.to_f32(dot), s.mul(scale, s.splat(x.scale)), *sum);
            }
        }
    }
}
