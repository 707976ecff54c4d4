//! Qwen3 (Yang et al., 2025), the dense ones: queries and keys are normed head by head.

use engine_backend::RopePairs;

use crate::ModelError;
use crate::architecture::Architecture;
use crate::architectures::dense::{self, Traits};
use crate::architectures::names::{DENSE, FRAME, HEAD_NORMS, MLP_NORM};
use crate::keys::Keys;
use crate::spec::{Bias, DecoderSpec, QkNorm};

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "qwen3",
    model_types: &["qwen3"],
    spec,
    weights: &[FRAME, HEAD_NORMS, MLP_NORM, DENSE],
};

const TRAITS: Traits =
    Traits { bias: Bias::Absent, pairs: RopePairs::Halves, qk_norm: QkNorm::EachHead };

fn spec(keys: &Keys<'_>) -> Result<DecoderSpec, ModelError> {
    dense::spec(keys, &TRAITS)
}
