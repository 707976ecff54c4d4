//! How the weights of a measured model are kept.

use clap::ValueEnum;
use engine_backend::DType;
use engine_cuda::WeightType;

use crate::shape::Shape;

/// Types of weights that models are served in.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kept {
    Bf16,
    /// All but embeddings and routers.
    Fp8,
    /// As files of the kind Q4_K_M: six bits for the head, and in half of the layers for values and
    /// the last product.
    #[value(name = "q4_k")]
    Q4K,
}

impl Kept {
    /// What plain weights become.
    pub(crate) fn plain(self) -> WeightType {
        match self {
            Self::Bf16 | Self::Q4K => WeightType::Auto,
            Self::Fp8 => WeightType::Fp8,
        }
    }

    /// Of every weight that nothing else is said of.
    pub(crate) fn most(self) -> DType {
        match self {
            Self::Bf16 | Self::Fp8 => DType::Bf16,
            Self::Q4K => DType::Q4K,
        }
    }

    pub(crate) fn head(self) -> DType {
        match self {
            Self::Bf16 | Self::Fp8 => DType::Bf16,
            Self::Q4K => DType::Q6K,
        }
    }

    /// Of values and the last product of a layer.
    pub(crate) fn down(self, shape: Shape, layer: usize) -> DType {
        let eighth = shape.layers / 8;
        let outer = layer < eighth || layer >= 7 * shape.layers / 8;
        match self {
            Self::Bf16 | Self::Fp8 => DType::Bf16,
            Self::Q4K if outer || (layer - eighth) % 3 == 2 => DType::Q6K,
            Self::Q4K => DType::Q4K,
        }
    }
}
