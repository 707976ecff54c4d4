//! Q4_1: blocks of 32 with a scale and a minimum, `w = d q + m`.

use bytemuck::Zeroable;

use super::{Format, Halves, dots, half_at, widen};
use crate::{
    activation::{Activations, Quantised, Rows, Wanted},
    simd::Simd,
};

/// See the module.
pub(crate) struct Q4_1;

#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    /// Byte `4 lane + i` of line `l` is byte `4 l + i` of the lane's block in the file: the low
    /// half is input `4 l + i`, the high half input `16 + 4 l + i`.
    codes: [[u8; 64]; 4],
    scale: Halves,
    min: Halves,
}

impl Format for Q4_1 {
    type Block = Block;
    type Unit = Quantised;
    const UNITS: usize = 1;
    const FILE_BYTES: usize = 20;
    const WANTED: Wanted = Wanted { quantised: true, floats: false };

    fn pack(block: &mut Block, lane: usize, bytes: &[u8]) {
        block.scale[lane] = half_at(bytes);
        block.min[lane] = half_at(&bytes[2..]);
        for (line, codes) in block.codes.iter_mut().zip(bytes[4..].chunks_exact(4)) {
            line[4 * lane..][..4].copy_from_slice(codes);
        }
    }

    fn unpack(block: &Block, lane: usize, weights: &mut [f32]) {
        let (scale, min) = (widen(block.scale[lane]), widen(block.min[lane]));
        for (i, weight) in weights.iter_mut().enumerate() {
            let byte = block.codes[i % 16 / 4][4 * lane + i % 4];
            let code = if i < 16 { byte & 15 } else { byte >> 4 };
            *weight = scale * f32::from(code) + min;
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
        let lines = [
            s.load_bytes(&block.codes[0]),
            s.load_bytes(&block.codes[1]),
            s.load_bytes(&block.codes[2]),
            s.load_bytes(&block.codes[3]),
        ];
        let low = [
            s.bits::<0>(lines[0], 15),
            s.bits::<0>(lines[1], 15),
            s.bits::<0>(lines[2], 15),
            s.bits::<0>(lines[3], 15),
        ];
        let high = [
            s.bits::<4>(lines[0], 15),
            s.bits::<4>(lines[1], 15),
            s.bits::<4>(lines[2], 15),
            s.bits::<4>(lines[3], 15),
        ];
        let (scale, min) = (s.load_f16(&block.scale), s.load_f16(&block.min));
        for (x, sum) in x.at::<R>(0).iter().zip(sums) {
            let dot = dots(s, s.splat_i32(0), &low, &x.codes[..4]);
            let dot = dots(s, dot, &high, &x.codes[4..]);
            *sum = s.fma(s.to_f32(dot), s.mul(scale, s.splat(x.scale)), *sum);
            *sum = s.fma(min, s.splat(x.sum), *sum);
        }
    }
}
