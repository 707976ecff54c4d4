//! How weights lie in device memory: see `kernels/device/weight.cuh`.

use engine_backend::DType;

/// Outputs of a unit.
pub(crate) const UNIT_OUTPUTS: usize = 16;
/// Inputs of a unit.
pub(crate) const UNIT_INPUTS: usize = 64;

/// How weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// bfloat16.
    Bf16,
    /// Four bits and a scale.
    Q4_0,
    /// Four bits, a scale and a minimum.
    Q4_1,
    /// Six bits and a scale.
    Q6,
    /// Eight bits and a scale.
    Q8,
}

impl Format {
    pub(crate) const ALL: [Self; 5] = [Self::Bf16, Self::Q4_0, Self::Q4_1, Self::Q6, Self::Q8];

    /// The one that weights of a type are kept in.
    pub(crate) const fn of(dtype: DType) -> Self {
        match dtype {
            DType::Q4_0 => Self::Q4_0,
            DType::Q4_1 | DType::Q4K => Self::Q4_1,
            DType::Q6K => Self::Q6,
            DType::Q8_0 => Self::Q8,
            DType::Bf16
            | DType::F16
            | DType::F32
            | DType::Iq4Nl
            | DType::Iq4Xs
            | DType::Mxfp4
            | DType::Q2K
            | DType::Q3K
            | DType::Q5_0
            | DType::Q5_1
            | DType::Q5K => Self::Bf16,
        }
    }

    /// Its name in kernels' names.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q6 => "q6",
            Self::Q8 => "q8",
        }
    }

    pub(crate) const fn unit_bytes(self) -> usize {
        match self {
            Self::Bf16 => 2048,
            Self::Q4_0 => 512 + 64,
            Self::Q4_1 => 512 + 128,
            Self::Q6 => 768 + 128,
            Self::Q8 => 1024 + 64,
        }
    }

    /// Bytes of so many outputs.
    pub(crate) const fn bytes(self, outputs: usize, inputs: usize) -> usize {
        let tile = units(inputs).saturating_mul(self.unit_bytes());
        outputs.div_ceil(UNIT_OUTPUTS).saturating_mul(tile)
    }
}

/// Units that a row of inputs takes.
pub(crate) const fn units(inputs: usize) -> usize {
    inputs.div_ceil(UNIT_INPUTS)
}
