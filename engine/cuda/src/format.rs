//! How weights lie in device memory: see `kernels/device/weight.cuh`.

use std::fmt;

use engine_backend::DType;

/// Outputs of a unit.
pub(crate) const UNIT_OUTPUTS: usize = 16;
/// Inputs of a unit.
pub(crate) const UNIT_INPUTS: usize = 64;

/// How weights are kept on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// bfloat16.
    Bf16,
    /// Floats of eight bits (E4M3), and a power of two for each output and 64 inputs.
    Fp8,
    /// Four bits around zero, and a scale for 32 inputs.
    Q4_0,
    /// Four bits, a scale and a minimum for 32 inputs.
    Q4_1,
    /// Six bits around zero, and a scale for 16 inputs.
    Q6,
    /// Eight bits around zero, and a scale for 32 inputs.
    Q8,
}

/// What plain weights become on the device. Quantised ones stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightType {
    /// bfloat16.
    #[default]
    Auto,
    /// [`Format::Fp8`], but for what is looked up or decides who computes.
    Fp8,
}

impl Format {
    pub(crate) const ALL: [Self; 6] =
        [Self::Bf16, Self::Fp8, Self::Q4_0, Self::Q4_1, Self::Q6, Self::Q8];

    /// The one that weights of a type are kept in, where plain ones become `plain`.
    pub(crate) const fn of(dtype: DType, plain: WeightType) -> Self {
        match dtype {
            DType::Bf16 | DType::F16 | DType::F32 => match plain {
                WeightType::Auto => Self::Bf16,
                WeightType::Fp8 => Self::Fp8,
            },
            DType::Q4_0 => Self::Q4_0,
            DType::Q4_1 | DType::Q4K => Self::Q4_1,
            DType::Q6K => Self::Q6,
            DType::Q8_0 => Self::Q8,
            DType::Iq4Nl
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
            Self::Fp8 => "fp8",
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q6 => "q6",
            Self::Q8 => "q8",
        }
    }

    pub(crate) const fn unit_bytes(self) -> usize {
        match self {
            Self::Bf16 => 2048,
            Self::Fp8 => 1024 + 16,
            Self::Q4_0 => 512 + 64,
            Self::Q4_1 => 512 + 128,
            Self::Q6 => 768 + 128,
            Self::Q8 => 1024 + 64,
        }
    }

    /// Bytes of so many outputs.
    #[must_use]
    pub const fn bytes(self, outputs: usize, inputs: usize) -> usize {
        let tile = units(inputs).saturating_mul(self.unit_bytes());
        outputs.div_ceil(UNIT_OUTPUTS).saturating_mul(tile)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
            Self::Q4_0 | Self::Q4_1 => "4 bits",
            Self::Q6 => "6 bits",
            Self::Q8 => "8 bits",
        })
    }
}

/// Units that a row of inputs takes.
pub(crate) const fn units(inputs: usize) -> usize {
    inputs.div_ceil(UNIT_INPUTS)
}
