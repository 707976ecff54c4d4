//! Weights of every type, of chance.

use engine_backend::{DType, Source, Tensor};
use half::{bf16, f16};

use crate::dice::Dice;
use crate::ends::coarse;
use crate::floats::floats;

/// A weight as its file holds it.
#[derive(Clone)]
pub(crate) struct Weight {
    pub(crate) dtype: DType,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    bytes: Vec<u8>,
}

impl Weight {
    pub(crate) fn new(dtype: DType, rows: usize, cols: usize, dice: &mut Dice) -> Self {
        let values = rows * cols;
        let bytes = if dtype.block_elements() == 1 {
            coarse(values, dice).into_iter().flat_map(|x| plain(dtype, x)).collect()
        } else {
            (0..values / dtype.block_elements()).flat_map(|_| block(dtype, dice)).collect()
        };
        Self { dtype, rows, cols, bytes }
    }

    /// Quantised weights of chance, all of whose scales and minimums are multiples of `scale`.
    pub(crate) fn scaled(
        dtype: DType,
        (rows, cols): (usize, usize),
        scale: f32,
        dice: &mut Dice,
    ) -> Self {
        let mut weight = Self::new(dtype, rows, cols, dice);
        for block in weight.bytes.chunks_exact_mut(dtype.block_bytes()) {
            for &at in scales(dtype) {
                block[at..at + 2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
            }
        }
        weight
    }

    /// These numbers, in a plain type.
    pub(crate) fn of(dtype: DType, rows: usize, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|&x| plain(dtype, x)).collect();
        Self { dtype, rows, cols: values.len() / rows, bytes }
    }

    /// The numbers that it holds.
    pub(crate) fn floats(&self) -> Vec<f32> {
        let blocks = self.bytes.chunks_exact(self.dtype.block_bytes());
        blocks.flat_map(|block| floats(self.dtype, block)).collect()
    }

    pub(crate) fn tensor(&self) -> Tensor<'_> {
        let Self { dtype, rows, cols, ref bytes } = *self;
        Tensor { dtype, rows, cols, source: Source::Bytes(bytes) }
    }
}

/// A number in a plain type.
fn plain(dtype: DType, x: f32) -> Vec<u8> {
    if dtype == DType::F32 {
        x.to_le_bytes().to_vec()
    } else if dtype == DType::F16 {
        f16::from_f32(x).to_le_bytes().to_vec()
    } else {
        bf16::from_f32(x).to_le_bytes().to_vec()
    }
}

/// A block of noise, but for what scales it.
fn block(dtype: DType, dice: &mut Dice) -> Vec<u8> {
    let mut block: Vec<u8> = (0..dtype.block_bytes()).map(|_| dice.next() as u8).collect();
    if dtype == DType::Mxfp4 {
        block[0] = 120 + dice.below(6) as u8;
        return block;
    }
    for &at in scales(dtype) {
        let scale = f16::from_f32(0.01 + dice.below(1000) as f32 * 1e-5);
        block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
    }
    block
}

/// Where a block's halves are.
fn scales(dtype: DType) -> &'static [usize] {
    match dtype {
        DType::Bf16 | DType::F16 | DType::F32 | DType::Mxfp4 => &[],
        DType::Iq4Nl | DType::Iq4Xs | DType::Q4_0 | DType::Q5_0 | DType::Q8_0 => &[0],
        DType::Q4_1 | DType::Q4K | DType::Q5_1 | DType::Q5K => &[0, 2],
        DType::Q2K => &[80, 82],
        DType::Q3K => &[108],
        DType::Q6K => &[208],
    }
}
