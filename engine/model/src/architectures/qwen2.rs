//! Qwen2 (Yang et al., 2024) and Qwen2.5, the dense ones: queries, keys and values have biases.

use engine_backend::RopePairs;

use crate::ModelError;
use crate::architecture::Architecture;
use crate::architectures::dense::{self, Traits};
use crate::architectures::names::{BIASES, DENSE, FRAME, MLP_NORM};
use crate::keys::Keys;
use crate::spec::{Bias, DecoderSpec, QkNorm};

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "qwen2",
    model_types: &["qwen2"],
    spec,
    weights: &[FRAME, BIASES, MLP_NORM, DENSE],
};

const TRAITS: Traits =
    Traits { bias: Bias::QueriesKeysValues, pairs: RopePairs::Halves, qk_norm: QkNorm::Absent };

fn spec(keys: &Keys<'_>) -> Result<DecoderSpec, ModelError> {
    dense::spec(keys, &TRAITS)
}
