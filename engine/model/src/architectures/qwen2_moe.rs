//! Qwen1.5-MoE and Qwen2-MoE (Yang et al., 2024): [`super::qwen2`] with experts, one of them shared
//! by all positions.

use engine_backend::RopePairs;

use crate::ModelError;
use crate::architecture::Architecture;
use crate::architectures::dense::Traits;
use crate::architectures::mixture::{self, MixtureTraits};
use crate::architectures::names::{BIASES, DENSE, EXPERTS, FRAME, MLP_NORM, SHARED_EXPERT};
use crate::keys::Keys;
use crate::spec::{Bias, DecoderSpec, QkNorm};

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "qwen2moe",
    model_types: &["qwen2_moe"],
    spec,
    weights: &[FRAME, BIASES, MLP_NORM, DENSE, EXPERTS, SHARED_EXPERT],
};

const TRAITS: Traits =
    Traits { bias: Bias::QueriesKeysValues, pairs: RopePairs::Halves, qk_norm: QkNorm::Absent };

const MIXTURE: MixtureTraits = MixtureTraits {
    normalised: false,
    width: ("expert_feed_forward_length", "moe_intermediate_size"),
    shared_width: Some(mixture::SHARED_WIDTH),
};

fn spec(keys: &Keys<'_>) -> Result<DecoderSpec, ModelError> {
    mixture::spec(keys, &TRAITS, &MIXTURE)
}
