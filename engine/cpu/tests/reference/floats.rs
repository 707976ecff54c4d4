//! What blocks of weights stand for: plain arithmetic by ggml's layouts.

use engine_backend::DType;
use half::{bf16, f16};

/// The weights of one block.
pub(crate) fn floats(dtype: DType, block: &[u8]) -> Vec<f32> {
    let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
    match dtype {
        DType::Bf16 => vec![bf16::from_le_bytes([block[0], block[1]]).to_f32()],
        DType::F16 => vec![half(0)],
        DType::F32 => vec![f32::from_le_bytes(block.try_into().expect("four bytes"))],
        DType::Iq4Nl => nibbles(&block[2..]).map(|code| half(0) * uneven(code)).collect(),
        DType::Iq4Xs => {
            let high = u32::from(block[2]) + 256 * u32::from(block[3]);
            let low = u32::from_le_bytes(block[4..8].try_into().expect("a word"));
            let scale = |at: u32| (low >> (4 * at)) % 16 + (high >> (2 * at)) % 4 * 16;
            let weights = (0_u32..).zip(block[8..].chunks_exact(16)).flat_map(|(at, codes)| {
                let scale = half(0) * (scale(at) as f32 - 32.0);
                nibbles(codes).map(move |code| scale * uneven(code))
            });
            weights.collect()
        }
        DType::Mxfp4 => {
            let power = 2_f64.powi(i32::from(block[0]) - 127);
            nibbles(&block[1..]).map(|code| (power * f64::from(tiny_float(code))) as f32).collect()
        }
        DType::Q2K => {
            let weight = |at: usize| {
                let (share, code) = (block[at / 16], two_bits(&block[16..80], at));
                half(80) * f32::from(share % 16) * f32::from(code)
                    - half(82) * f32::from(share / 16)
            };
            (0..256).map(weight).collect()
        }
        DType::Q3K => {
            let scales = six_bit_scales(&block[96..108]);
            let weight = |at: usize| {
                let low = f32::from(two_bits(&block[32..96], at));
                let high = block[at % 32] >> (at / 32) & 1 == 1;
                half(108) * scales[at / 16] * if high { low } else { low - 4.0 }
            };
            (0..256).map(weight).collect()
        }
        DType::Q4_0 => nibbles(&block[2..]).map(|code| half(0) * (code - 8.0)).collect(),
        DType::Q5_0 => {
            let codes = nibbles(&block[6..]).zip(sixteens(&block[2..6]));
            codes.map(|(low, high)| half(0) * (low + high - 16.0)).collect()
        }
        DType::Q5_1 => {
            let codes = nibbles(&block[8..]).zip(sixteens(&block[4..8]));
            codes.map(|(low, high)| half(0) * (low + high) + half(2)).collect()
        }
        DType::Q4_1 => nibbles(&block[4..]).map(|code| half(0) * code + half(2)).collect(),
        DType::Q4K | DType::Q5K => {
            let weight = |at: usize| {
                let (scale, min) = six_bit_shares(&block[4..16], at / 32);
                let codes = &block[block.len() - 128..];
                let low = codes[at / 64 * 32 + at % 32] >> (at / 32 % 2 * 4) & 15;
                let five = dtype == DType::Q5K && block[16 + at % 32] >> (at / 32) & 1 == 1;
                let code = f32::from(low) + if five { 16.0 } else { 0.0 };
                half(0) * f32::from(scale) * code - half(2) * f32::from(min)
            };
            (0..256).map(weight).collect()
        }
        DType::Q6K => six_bits(block, half(208)),
        DType::Q8_0 => block[2..].iter().map(|byte| half(0) * f32::from(*byte as i8)).collect(),
    }
}

/// The low halves of all bytes, then the high halves.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.iter().map(|byte| byte % 16).chain(bytes.iter().map(|byte| byte / 16)).map(f32::from)
}

/// What a code of the IQ4 types stands for.
fn uneven(code: f32) -> f32 {
    let negative = [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0];
    let positive = [1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];
    if code < 8.0 { negative[code as usize] } else { positive[code as usize - 8] }
}

/// What four bits of sign, exponent, exponent and mantissa stand for; zero has no sign here.
fn tiny_float(code: f32) -> f32 {
    let code = code as u8;
    let (exponent, mantissa) = (code >> 1 & 3, f32::from(code & 1));
    let size = match exponent {
        0 => mantissa / 2.0,
        _ => f32::from(1_u8 << (exponent - 1)) * (1.0 + mantissa / 2.0),
    };
    if code < 8 || size == 0.0 { size } else { -size }
}

/// Sixteen where a bit is set in the little-endian word.
fn sixteens(word: &[u8]) -> impl Iterator<Item = f32> {
    let word = u32::from_le_bytes(word.try_into().expect("a word"));
    (0..32).map(move |bit| if word & 1 << bit == 0 { 0.0 } else { 16.0 })
}

/// Code `at` of 256: either half of them has four groups of 32 that share bytes.
fn two_bits(codes: &[u8], at: usize) -> u8 {
    codes[at / 128 * 32 + at % 32] >> (at % 128 / 32 * 2) & 3
}

/// Sixteen scales in twelve bytes, less 32.
fn six_bit_scales(packed: &[u8]) -> Vec<f32> {
    let low = packed[..8].iter().map(|byte| byte % 16);
    let low = low.chain(packed[..8].iter().map(|byte| byte / 16));
    let high = (0..4).flat_map(|shift| packed[8..].iter().map(move |byte| byte >> (2 * shift) & 3));
    low.zip(high).map(|(low, high)| f32::from(low) + 16.0 * f32::from(high) - 32.0).collect()
}

fn six_bits(block: &[u8], d: f32) -> Vec<f32> {
    let (ql, qh, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let mut weights = vec![0.0; 256];
    for n in 0..2 {
        for l in 0..32 {
            let (a, b) = (ql[64 * n + l], ql[64 * n + l + 32]);
            let h = qh[32 * n + l];
            let codes = [
                a & 15 | (h & 3) << 4,
                b & 15 | (h >> 2 & 3) << 4,
                a >> 4 | (h >> 4 & 3) << 4,
                b >> 4 | (h >> 6) << 4,
            ];
            for (k, code) in codes.into_iter().enumerate() {
                let at = 128 * n + 32 * k + l;
                weights[at] = d * f32::from(scales[at / 16] as i8) * (f32::from(code) - 32.0);
            }
        }
    }
    weights
}

/// The eight scales and minima in twelve bytes, here as three little-endian words: bits `8 k..8 k +
/// 6` of the first are scale `k`, of the second minimum `k`; of the third the low and high halves
/// of byte `k` are the low parts of scale and minimum `4 + k`, whose high parts are left in the
/// others.
fn six_bit_shares(packed: &[u8], index: usize) -> (u8, u8) {
    let word = |at: usize| u32::from_le_bytes(packed[4 * at..][..4].try_into().expect("a word"));
    let shift = 8 * (index % 4);
    let [scales, mins, rest] = [0, 1, 2].map(|at| word(at) >> shift & 255);
    let (scale, min) = if index < 4 {
        (scales % 64, mins % 64)
    } else {
        (rest % 16 + scales / 64 * 16, rest / 16 + mins / 64 * 16)
    };
    (scale as u8, min as u8)
}
