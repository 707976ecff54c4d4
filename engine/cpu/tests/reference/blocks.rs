//! Blocks of weights as files hold them.

use engine_backend::DType;
use half::{bf16, f16};

use super::Random;

fn half(random: &mut Random, scale: f32) -> [u8; 2] {
    f16::from_f32(random.signed() * scale).to_le_bytes()
}

/// Appends a block of a size that suits tests.
pub(crate) fn block(random: &mut Random, dtype: DType, bytes: &mut Vec<u8>) {
    let any =
        |random: &mut Random, n: usize| (0..n).map(|_| random.bits() as u8).collect::<Vec<_>>();
    match dtype {
        DType::Bf16 => bytes.extend(bf16::from_f32(random.signed()).to_le_bytes()),
        DType::F16 => bytes.extend(half(random, 1.0)),
        DType::F32 => bytes.extend(random.signed().to_le_bytes()),
        DType::Iq4Nl => {
            bytes.extend(half(random, 0.01));
            bytes.extend(any(random, 16));
        }
        DType::Iq4Xs => {
            bytes.extend(half(random, 0.001));
            bytes.extend(any(random, 2 + 4 + 128));
        }
        DType::Mxfp4 => {
            bytes.push(120 + random.below(8) as u8);
            bytes.extend(any(random, 16));
        }
        DType::Q2K => {
            bytes.extend(any(random, 16 + 64));
            bytes.extend(half(random, 0.02));
            bytes.extend(half(random, 0.05));
        }
        DType::Q3K => {
            bytes.extend(any(random, 32 + 64 + 12));
            bytes.extend(half(random, 0.01));
        }
        DType::Q4_0 | DType::Q5_0 => {
            bytes.extend(half(random, 0.1));
            bytes.extend(any(random, dtype.block_bytes() - 2));
        }
        DType::Q4_1 | DType::Q5_1 => {
            bytes.extend(half(random, 0.1));
            bytes.extend(half(random, 1.0));
            bytes.extend(any(random, dtype.block_bytes() - 4));
        }
        DType::Q4K | DType::Q5K => {
            bytes.extend(half(random, 0.001));
            bytes.extend(half(random, 0.01));
            bytes.extend(any(random, dtype.block_bytes() - 4));
        }
        DType::Q6K => {
            bytes.extend(any(random, 128 + 64 + 16));
            bytes.extend(half(random, 0.001));
        }
        DType::Q8_0 => {
            bytes.extend(half(random, 0.01));
            bytes.extend(any(random, 32));
        }
    }
}
