//! Weights that nobody trained: random codes, with scales that fit them.
//!
//! Every type's codes may have any bits; what decides how large the weights are is the scales
//! beside them. So a block is filled with random bits first, and then gets its scale. Where a
//! type's codes do not balance around 0 of themselves, its scale has a random sign, or its minimum
//! balances them. A block is a function of a key and of its own place, so any part of a tensor can
//! be made by itself, and on any device: only whole numbers are computed for a block.

use std::ops::Range;

use half::{bf16, f16};

use crate::DType;

/// Weights of a matrix, or of a part of one. The same key makes the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// What they are a function of, besides their places.
    pub key: u64,
    /// Their root mean square.
    pub size: f32,
    /// The place of the first row's first block.
    pub first: u64,
    /// How far the place of a row's first block is from that of the row before.
    pub stride: u64,
}

/// How random bytes become weights of one type and one size.
#[derive(Clone, Debug, PartialEq)]
pub enum Recipe {
    /// Blocks of codes with scales.
    Block(BlockRecipe),
    /// The bits of the value that each random byte stands for, a byte for each element.
    Plain(Vec<u32>),
}

/// What is put into a block after its bits were drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockRecipe {
    /// Bytes of a block.
    pub bytes: usize,
    /// Its scale.
    pub scale: Scale,
    /// Bytes that are made to say the same of scales and of minimums.
    pub twins: Twins,
}

/// The scale of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Half precision at this place; the sign stays random.
    Signed(usize, f16),
    /// A scale at this place, and a minimum behind it, both of half precision.
    WithMinimum(usize, f16, f16),
    /// A power of two at the start: this one, or by this chance of 256 the next.
    Exponent(u8, u8),
}

/// Scales and minimums of a block's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twins {
    /// None.
    None,
    /// Two nibbles of each of the first bytes; the upper bit of each is set.
    Nibbles(usize),
    /// Twelve bytes at this place hold eight scales and eight minimums, 6 bits each.
    SixBits(usize),
}

/// Root mean square of the codes of each width, drawn evenly: of a code as it is drawn, less the
/// middle, and for those with a sign less half the range, which is not quite the middle.
const BITS_2: f32 = 1.118;
const BITS_4: f32 = 4.610;
const BITS_5: f32 = 9.233;
const SIGNED_3: f32 = 2.345;
const SIGNED_4: f32 = 4.637;
const SIGNED_5: f32 = 9.247;
const SIGNED_6: f32 = 18.48;
const SIGNED_8: f32 = 73.90;

/// The same of 4-bit scales from 8 on, and of 6-bit scales.
const SCALES_4: f32 = 11.73;
const SCALES_6: f32 = 36.93;

/// The same of the sixteen values of IQ4, and of those of E2M1.
const UNEVEN: f32 = 67.44;
const E2M1: f32 = 2.926;

impl Noise {
    /// The part that begins at this row.
    #[must_use]
    pub const fn from_row(self, row: usize) -> Self {
        Self { first: self.first.wrapping_add(self.stride.wrapping_mul(row as u64)), ..self }
    }

    /// Makes rows of `cols` elements each, as a file would hold them.
    ///
    /// # Panics
    /// If a row is not whole blocks.
    #[must_use]
    pub fn rows(&self, dtype: DType, rows: Range<usize>, cols: usize) -> Vec<u8> {
        let row_bytes = dtype.row_bytes(cols).expect("columns are whole blocks");
        let recipe = Recipe::new(dtype, self.size);
        let mut bytes = vec![0; rows.len() * row_bytes];
        for (row, bytes) in rows.zip(bytes.chunks_exact_mut(row_bytes.max(1))) {
            let places = self.from_row(row).first..;
            let blocks = bytes.chunks_exact_mut(dtype.block_bytes()).zip(places);
            match &recipe {
                Recipe::Block(recipe) => {
                    blocks.for_each(|(block, place)| recipe.fill(self.key, place, block));
                }
                Recipe::Plain(values) => {
                    let mut draw = (u64::MAX, [0; 8]);
                    blocks.for_each(|(element, place)| {
                        if draw.0 != place / 8 {
                            draw = (place / 8, random_word(self.key, place / 8).to_le_bytes());
                        }
                        let bits = values[usize::from(draw.1[(place % 8) as usize])];
                        element.copy_from_slice(&bits.to_le_bytes()[..element.len()]);
                    });
                }
            }
        }
        bytes
    }
}

impl Recipe {
    /// For weights of a type, and this root mean square.
    #[must_use]
    pub fn new(dtype: DType, size: f32) -> Self {
        let signed = |at, codes: f32| Scale::Signed(at, f16::from_f32(size / codes));
        let minimum = |at, codes: f32, middle: f32| {
            let scale = size / codes;
            Scale::WithMinimum(at, f16::from_f32(scale), f16::from_f32(scale * middle))
        };
        let (scale, twins) = match dtype {
            DType::Bf16 => return plain(size, |value| bf16::from_f32(value).to_bits().into()),
            DType::F16 => return plain(size, |value| f16::from_f32(value).to_bits().into()),
            DType::F32 => return plain(size, f32::to_bits),
            DType::Iq4Nl => (signed(0, UNEVEN), Twins::None),
            DType::Iq4Xs => (signed(0, SIGNED_6 * UNEVEN), Twins::None),
            DType::Mxfp4 => (exponent(size / E2M1), Twins::None),
            DType::Q2K => (minimum(80, SCALES_4 * BITS_2, 1.5), Twins::Nibbles(16)),
            DType::Q3K => (signed(108, SIGNED_6 * SIGNED_3), Twins::None),
            DType::Q4_0 => (signed(0, SIGNED_4), Twins::None),
            DType::Q4_1 => (minimum(0, BITS_4, -7.5), Twins::None),
            DType::Q4K => (minimum(0, SCALES_6 * BITS_4, 7.5), Twins::SixBits(4)),
            DType::Q5_0 => (signed(0, SIGNED_5), Twins::None),
            DType::Q5_1 => (minimum(0, BITS_5, -15.5), Twins::None),
            DType::Q5K => (minimum(0, SCALES_6 * BITS_5, 15.5), Twins::SixBits(4)),
            DType::Q6K => (signed(208, SIGNED_8 * SIGNED_6), Twins::None),
            DType::Q8_0 => (signed(0, SIGNED_8), Twins::None),
        };
        Self::Block(BlockRecipe { bytes: dtype.block_bytes(), scale, twins })
    }
}

impl BlockRecipe {
    /// Random words that a block is made of.
    #[must_use]
    pub const fn words(&self) -> usize {
        self.bytes.div_ceil(8)
    }

    /// Makes the block at a place.
    fn fill(&self, key: u64, place: u64, bytes: &mut [u8]) {
        let first = place.wrapping_mul(self.words() as u64);
        for (bytes, index) in bytes.chunks_mut(8).zip(0..) {
            let word = random_word(key, first.wrapping_add(index)).to_le_bytes();
            bytes.copy_from_slice(&word[..bytes.len()]);
        }
        self.complete(bytes);
    }

    fn complete(&self, bytes: &mut [u8]) {
        match self.twins {
            Twins::None => {}
            Twins::Nibbles(length) => {
                bytes[..length].iter_mut().for_each(|byte| *byte = (*byte & 7 | 8) * 0x11);
            }
            Twins::SixBits(at) => {
                let (scales, rest) = bytes[at..at + 12].split_at_mut(4);
                let (minimums, lows) = rest.split_at_mut(4);
                minimums.copy_from_slice(scales);
                lows.iter_mut().for_each(|byte| *byte = (*byte & 15) * 0x11);
            }
        }
        match self.scale {
            Scale::Signed(at, scale) => {
                let sign = bytes[at + 1] & 0x80;
                bytes[at..at + 2].copy_from_slice(&scale.to_le_bytes());
                bytes[at + 1] |= sign;
            }
            Scale::WithMinimum(at, scale, minimum) => {
                bytes[at..at + 2].copy_from_slice(&scale.to_le_bytes());
                bytes[at + 2..at + 4].copy_from_slice(&minimum.to_le_bytes());
            }
            Scale::Exponent(exponent, chance) => {
                bytes[0] = exponent + u8::from(bytes[0] < chance);
            }
        }
    }
}

/// The powers of two around `size`, mixed so that their mean square is its square.
fn exponent(size: f32) -> Scale {
    let below = size.log2().floor();
    let chance = ((size / below.exp2()).powi(2) - 1.0) / 3.0 * 256.0;
    Scale::Exponent((below + 127.0).clamp(0.0, 253.0) as u8, chance.clamp(0.0, 255.0) as u8)
}

/// Evenly spread over 256 values: codes are 0.5 to 127.5 from their middle.
fn plain(size: f32, bits: impl Fn(f32) -> u32) -> Recipe {
    let value = |code: u8| (f32::from(code) - 127.5) / SIGNED_8 * size;
    Recipe::Plain((0..=u8::MAX).map(|code| bits(value(code))).collect())
}

/// The `index`th word of a key: SplitMix64 (Steele, Lea and Flood, 2014).
#[must_use]
pub const fn random_word(key: u64, index: u64) -> u64 {
    let mut word = key.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_made_as_the_whole_is() {
        for dtype in DType::ALL {
            let block = dtype.block_elements();
            let (rows, cols) = (5, 3 * block);
            let whole = Noise { key: 7, size: 0.1, first: 0, stride: 3 };
            let bytes = whole.rows(dtype, 0..rows, cols);
            let row_bytes = dtype.row_bytes(cols).unwrap();
            assert_eq!(bytes.len(), rows * row_bytes);
            let middle = whole.rows(dtype, 2..4, cols);
            assert_eq!(middle, bytes[2 * row_bytes..4 * row_bytes], "{dtype:?}");
            assert_eq!(whole.from_row(2).rows(dtype, 0..2, cols), middle, "{dtype:?}");
            // Its last two columns of blocks.
            let right = Noise { first: 1, ..whole }.rows(dtype, 0..rows, 2 * block);
            let cut = bytes.chunks_exact(row_bytes).flat_map(|row| &row[dtype.block_bytes()..]);
            assert!(right.iter().eq(cut), "{dtype:?}");
        }
    }

    #[test]
    fn rows_and_keys_differ() {
        let noise = Noise { key: 1, size: 0.1, first: 0, stride: 8 };
        for dtype in DType::ALL {
            let cols = 8 * dtype.block_elements();
            let rows = noise.rows(dtype, 0..2, cols);
            let (one, two) = rows.split_at(rows.len() / 2);
            assert_ne!(one, two, "{dtype:?}");
            assert_ne!(Noise { key: 2, ..noise }.rows(dtype, 0..1, cols), one, "{dtype:?}");
        }
    }
}
