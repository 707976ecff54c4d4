//! Q8_0: blocks of 32 with a scale, `w = d q`.

use bytemuck::Zeroable;

use super::{Decoded, Format, Halves, half_at, sums::Centred, widen};
use crate::{activation::Quantised, simd::Simd};

/// See the module.
pub(crate) struct Q8_0;

#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(32))]
pub(crate) struct Block {
    /// Byte `4 lane + i` of line `l` is `128 + q` of input `4 l + i`: products take unsigned codes.
    codes: [[u8; 64]; 8],
    scale: Halves,
}

impl Format for Q8_0 {
    type Block = Block;
    type Unit = Quantised;
    const UNITS: usize = 1;
    const FILE_BYTES: usize = 34;

    fn pack(block: &mut Block, lane: usize, bytes: &[u8]) {
        block.scale[lane] = half_at(bytes);
        for (line, codes) in block.codes.iter_mut().zip(bytes[2..].as_chunks::<4>().0) {
            line[4 * lane..][..4].copy_from_slice(&codes.map(|code| code ^ 128));
        }
    }

    fn unpack(block: &Block, lane: usize, weights: &mut [f32]) {
        let scale = widen(block.scale[lane]);
        for (i, weight) in weights.iter_mut().enumerate() {
            let code = i16::from(block.codes[i / 4][4 * lane + i % 4]) - 128;
            *weight = scale * f32::from(code);
        }
    }

    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &Block, _: usize) -> impl Decoded<S, Quantised> {
        let codes = [
            s.load_bytes(&block.codes[0]),
            s.load_bytes(&block.codes[1]),
            s.load_bytes(&block.codes[2]),
            s.load_bytes(&block.codes[3]),
            s.load_bytes(&block.codes[4]),
            s.load_bytes(&block.codes[5]),
            s.load_bytes(&block.codes[6]),
            s.load_bytes(&block.codes[7]),
        ];
        Centred::<S, true> { codes, zero: 128, scale: s.load_f16(&block.scale) }
    }
}
