//! Weights of chance in every type: blocks of noise whose scales keep them within a reach.

use half::{bf16, f16};

use crate::dice::Dice;

/// ggml's numbers of element types.
pub(crate) const F32: u32 = 0;
pub(crate) const F16: u32 = 1;
pub(crate) const Q4_0: u32 = 2;
pub(crate) const Q4_1: u32 = 3;
pub(crate) const Q5_0: u32 = 6;
pub(crate) const Q5_1: u32 = 7;
pub(crate) const Q8_0: u32 = 8;
pub(crate) const Q2_K: u32 = 10;
pub(crate) const Q3_K: u32 = 11;
pub(crate) const Q4_K: u32 = 12;
pub(crate) const Q5_K: u32 = 13;
pub(crate) const Q6_K: u32 = 14;
pub(crate) const IQ4_NL: u32 = 20;
pub(crate) const IQ4_XS: u32 = 23;
pub(crate) const BF16: u32 = 30;
pub(crate) const MXFP4: u32 = 39;

/// Types whose elements stand for themselves.
pub(crate) const PLAIN: [u32; 3] = [F32, F16, BF16];
/// Types of blocks.
pub(crate) const QUANTISED: [u32; 13] =
    [Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4];

/// So many elements, about as far from zero as `reach`.
pub(crate) fn noise(code: u32, elements: u64, reach: f32, dice: &mut Dice) -> Vec<u8> {
    let mut data = Vec::new();
    (0..elements / block_elements(code)).for_each(|_| block(&mut data, code, reach, dice));
    data
}

const fn block_elements(code: u32) -> u64 {
    match code {
        F32 | F16 | BF16 => 1,
        Q2_K | Q3_K | Q4_K | Q5_K | Q6_K | IQ4_XS => 256,
        _ => 32,
    }
}

fn block(data: &mut Vec<u8>, code: u32, reach: f32, dice: &mut Dice) {
    let vary = 1.0 + 0.5 * uniform(dice);
    match code {
        F32 => data.extend((reach * uniform(dice)).to_le_bytes()),
        F16 => data.extend(half(reach * uniform(dice))),
        BF16 => data.extend(bf16::from_f32(reach * uniform(dice)).to_le_bytes()),
        Q4_0 => scaled(data, reach / 8.0 * vary, 16, dice),
        Q4_1 => shifted(data, 2.0 * reach / 15.0 * vary, -reach, 16, dice),
        Q5_0 => scaled(data, reach / 16.0 * vary, 4 + 16, dice),
        Q5_1 => shifted(data, 2.0 * reach / 31.0 * vary, -reach, 4 + 16, dice),
        Q8_0 => scaled(data, reach / 127.0 * vary, 32, dice),
        Q2_K => {
            bytes(data, 16 + 64, dice);
            shares(data, reach / 20.0, 1.5);
        }
        Q3_K => {
            bytes(data, 32 + 64 + 12, dice);
            data.extend(half(reach / 64.0));
        }
        // A share of a scale has six bits, and so has a share of what is taken off: the middle.
        Q4_K => {
            shares(data, reach / (31.5 * 7.5), 7.5);
            bytes(data, 12 + 128, dice);
        }
        Q5_K => {
            shares(data, reach / (31.5 * 15.5), 15.5);
            bytes(data, 12 + 32 + 128, dice);
        }
        Q6_K => {
            bytes(data, 192 + 16, dice);
            data.extend(half(reach / 32.0 / 100.0));
        }
        IQ4_NL => scaled(data, reach / 127.0 * vary, 16, dice),
        IQ4_XS => scaled(data, reach / 127.0 / 24.0, 2 + 4 + 128, dice),
        MXFP4 => {
            // Six times a power of two.
            let power = (reach / 6.0).log2().round() as i32 + dice.below(2) as i32;
            data.push(u8::try_from(127 + power).expect("a small power"));
            bytes(data, 16, dice);
        }
        other => panic!("no weights of type {other}"),
    }
}

/// A scale, and noise.
fn scaled(data: &mut Vec<u8>, scale: f32, length: usize, dice: &mut Dice) {
    data.extend(half(scale));
    bytes(data, length, dice);
}

/// A scale, what is added, and noise.
fn shifted(data: &mut Vec<u8>, scale: f32, least: f32, length: usize, dice: &mut Dice) {
    data.extend(half(scale));
    data.extend(half(least * (1.0 + 0.1 * uniform(dice))));
    bytes(data, length, dice);
}

/// The scales of scales and of what is taken off: so many times as large.
fn shares(data: &mut Vec<u8>, scale: f32, times: f32) {
    data.extend(half(scale));
    data.extend(half(scale * times));
}

fn bytes(data: &mut Vec<u8>, number: usize, dice: &mut Dice) {
    data.extend((0..number).map(|_| dice.next() as u8));
}

/// From -1 to 1.
pub(crate) fn uniform(dice: &mut Dice) -> f32 {
    (dice.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
}

fn half(value: f32) -> [u8; 2] {
    f16::from_f32(value).to_le_bytes()
}
