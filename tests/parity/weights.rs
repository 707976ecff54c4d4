//! Weights of every type, of chance.

use engine_backend::{DType, Tensor};
use half::{bf16, f16};

use crate::dice::Dice;
use crate::ends::coarse;

pub(crate) const DTYPES: [DType; 16] = [
    DType::Bf16,
    DType::F16,
    DType::F32,
    DType::Iq4Nl,
    DType::Iq4Xs,
    DType::Mxfp4,
    DType::Q2K,
    DType::Q3K,
    DType::Q4_0,
    DType::Q4_1,
    DType::Q4K,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q5K,
    DType::Q6K,
    DType::Q8_0,
];

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
        let bytes = match dtype {
            DType::F32 => coarse(values, dice).iter().flat_map(|x| x.to_le_bytes()).collect(),
            DType::F16 => {
                coarse(values, dice).iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect()
            }
            DType::Bf16 => {
                coarse(values, dice).iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect()
            }
            other => {
                (0..values / other.block_elements()).flat_map(|_| block(other, dice)).collect()
            }
        };
        Self { dtype, rows, cols, bytes }
    }

    pub(crate) fn tensor(&self) -> Tensor<'_> {
        let Self { dtype, rows, cols, ref bytes } = *self;
        Tensor { dtype, rows, cols, bytes }
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
