//! Bytes that make weights of a given size: random codes, with scales that fit them.
//!
//! Every type's codes may have any bits; what decides how large the weights are is the scales
//! beside them. So a whole tensor is filled with random bits first, and then each block gets its
//! scale. Where a type's codes do not balance around 0 of themselves, its scale has a random sign,
//! or its minimum balances them.

use engine_backend::DType;
use half::{bf16, f16};

/// Makes weights of one type and one root mean square.
#[derive(Debug)]
pub(super) struct Noise {
    recipe: Recipe,
}

#[derive(Debug)]
enum Recipe {
    Block(Block),
    Plain(DType, f32),
}

/// What is put into each block after its bits were drawn.
#[derive(Debug)]
struct Block {
    bytes: usize,
    scale: Scale,
    /// Twins: bytes that are made to say the same of scales and of minimums.
    twins: Twins,
}

#[derive(Debug)]
enum Scale {
    /// Half precision at this place; the sign stays random.
    Signed(usize, f16),
    /// A scale at this place, and a minimum behind it, both of half precision.
    WithMinimum(usize, f16, f16),
    /// A power of two at the start: this one, or by this chance of 256 the next.
    Exponent(u8, u8),
}

#[derive(Debug)]
enum Twins {
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
    pub(super) fn new(dtype: DType, size: f32) -> Self {
        let signed = |at, codes: f32| Scale::Signed(at, f16::from_f32(size / codes));
        let minimum = |at, codes: f32, middle: f32| {
            let scale = size / codes;
            Scale::WithMinimum(at, f16::from_f32(scale), f16::from_f32(scale * middle))
        };
        let (scale, twins) = match dtype {
            DType::Bf16 | DType::F16 | DType::F32 => {
                return Self { recipe: Recipe::Plain(dtype, size) };
            }
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
        Self { recipe: Recipe::Block(Block { bytes: dtype.block_bytes(), scale, twins }) }
    }

    /// Bytes of weights. The same key makes the same.
    pub(super) fn bytes(&self, length: usize, key: u64) -> Vec<u8> {
        match &self.recipe {
            Recipe::Block(block) => {
                let mut bytes = random_bytes(length, key);
                bytes.chunks_exact_mut(block.bytes).for_each(|bytes| block.complete(bytes));
                bytes
            }
            Recipe::Plain(dtype, size) => plain(*dtype, *size, length, key),
        }
    }
}

impl Block {
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

/// Evenly spread over 256 values.
fn plain(dtype: DType, size: f32, length: usize, key: u64) -> Vec<u8> {
    // Codes are 0.5 to 127.5 from their middle.
    let value = |code: u8| (f32::from(code) - 127.5) / SIGNED_8 * size;
    match dtype {
        DType::F32 => spread(length, key, |code| value(code).to_le_bytes()),
        DType::F16 => spread(length, key, |code| f16::from_f32(value(code)).to_le_bytes()),
        DType::Bf16 => spread(length, key, |code| bf16::from_f32(value(code)).to_le_bytes()),
        DType::Iq4Nl
        | DType::Iq4Xs
        | DType::Mxfp4
        | DType::Q2K
        | DType::Q3K
        | DType::Q4_0
        | DType::Q4_1
        | DType::Q4K
        | DType::Q5_0
        | DType::Q5_1
        | DType::Q5K
        | DType::Q6K
        | DType::Q8_0 => unreachable!("types of blocks have a recipe of their own"),
    }
}

fn spread<const N: usize>(length: usize, key: u64, value: impl Fn(u8) -> [u8; N]) -> Vec<u8> {
    let values: Vec<_> = (0..=u8::MAX).map(value).collect();
    let codes = random_bytes(length / N, key);
    let mut bytes = vec![0; length];
    for (place, code) in bytes.chunks_exact_mut(N).zip(codes) {
        place.copy_from_slice(&values[usize::from(code)]);
    }
    bytes
}

fn random_bytes(length: usize, key: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut words = bytes.chunks_exact_mut(8);
    let mut index = 0_u64;
    for word in &mut words {
        word.copy_from_slice(&random(key, index).to_le_bytes());
        index += 1;
    }
    let rest = words.into_remainder();
    let last = random(key, index).to_le_bytes();
    rest.copy_from_slice(&last[..rest.len()]);
    bytes
}

/// The `index`th word of a key: SplitMix64 (Steele, Lea and Flood, 2014).
pub(super) const fn random(key: u64, index: u64) -> u64 {
    let mut word = key.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
