//! How the weights of a measured model are kept.

use clap::ValueEnum;
use engine_cuda::Format;

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
    pub(crate) fn embedding(self) -> Format {
        match self {
            Self::Bf16 | Self::Fp8 => Format::Bf16,
            Self::Q4K => Format::Q4_1,
        }
    }

    pub(crate) fn head(self) -> Format {
        match self {
            Self::Bf16 => Format::Bf16,
            Self::Fp8 => Format::Fp8,
            Self::Q4K => Format::Q6,
        }
    }

    /// Of every weight that nothing else is said of.
    pub(crate) fn most(self) -> Format {
        match self {
            Self::Bf16 => Format::Bf16,
            Self::Fp8 => Format::Fp8,
            Self::Q4K => Format::Q4_1,
        }
    }

    /// Of values and the last product of a layer.
    pub(crate) fn down(self, shape: Shape, layer: usize) -> Format {
        let eighth = shape.layers / 8;
        let outer = layer < eighth || layer >= 7 * shape.layers / 8;
        let finer = outer || layer.saturating_sub(eighth) % 3 == 2;
        match self {
            Self::Bf16 | Self::Fp8 => self.most(),
            Self::Q4K if finer => Format::Q6,
            Self::Q4K => Format::Q4_1,
        }
    }

    /// Of queries, keys and values.
    pub(crate) fn qkv(self, shape: Shape, layer: usize) -> Vec<(Format, usize)> {
        let values = shape.heads.keys_values * shape.heads.dim;
        let rest = shape.heads.qkv_width() - values;
        let (most, last) = (self.most(), self.down(shape, layer));
        if most == last { vec![(most, rest + values)] } else { vec![(most, rest), (last, values)] }
    }
}
