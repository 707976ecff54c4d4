//! Qwen3-MoE (Yang et al., 2025): [`super::qwen3`] with experts.

use engine_backend::RopePairs;

use crate::ModelError;
use crate::architecture::Architecture;
use crate::architectures::dense::Traits;
use crate::architectures::mixture::{self, MixtureTraits};
use crate::architectures::names::{DENSE, EXPERTS, FRAME, HEAD_NORMS, MLP_NORM};
use crate::keys::Keys;
use crate::spec::{Bias, DecoderSpec, QkNorm};

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "qwen3moe",
    model_types: &["qwen3_moe"],
    spec,
    weights: &[FRAME, HEAD_NORMS, MLP_NORM, DENSE, EXPERTS],
};

const TRAITS: Traits =
    Traits { bias: Bias::Absent, pairs: RopePairs::Halves, qk_norm: QkNorm::EachHead };

const MIXTURE: MixtureTraits = MixtureTraits {
    normalised: true,
    width: ("expert_feed_forward_length", "moe_intermediate_size"),
    shared_width: None,
};

fn spec(keys: &Keys<'_>) -> Result<DecoderSpec, ModelError> {
    mixture::spec(keys, &TRAITS, &MIXTURE)
}
