//! Llama (Touvron et al., 2023; Grattafiori et al., 2024), and the many models that have its shape:
//! Mistral (Jiang et al., 2023), whose queries see a window, and Mixtral (Jiang et al., 2024),
//! whose layers have experts.

use engine_backend::RopePairs;

use crate::ModelError;
use crate::architecture::Architecture;
use crate::architectures::dense::{self, Traits};
use crate::architectures::mixture::{self, MixtureTraits};
use crate::architectures::names::{DENSE, FRAME, MLP_NORM};
use crate::keys::Keys;
use crate::place::Place;
use crate::placement::{Weight, weight};
use crate::spec::{Bias, DecoderSpec, QkNorm};

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "llama",
    model_types: &["llama", "mistral", "mixtral"],
    spec,
    weights: &[FRAME, MLP_NORM, DENSE, OWN],
};

/// What only this architecture has, or calls so.
const OWN: &[Weight] = &[
    weight("rope_freqs.weight", "", Place::RopeDivisors),
    weight(
        "blk.*.ffn_gate_inp.weight",
        "model.layers.*.block_sparse_moe.gate.weight",
        Place::Router,
    ),
    weight(
        "blk.*.ffn_gate_exps.weight",
        "model.layers.*.block_sparse_moe.experts.@.w1.weight",
        Place::ExpertGate,
    ),
    weight(
        "blk.*.ffn_up_exps.weight",
        "model.layers.*.block_sparse_moe.experts.@.w3.weight",
        Place::ExpertUp,
    ),
    weight(
        "blk.*.ffn_down_exps.weight",
        "model.layers.*.block_sparse_moe.experts.@.w2.weight",
        Place::ExpertDown,
    ),
];

/// GGUF files of this architecture have the rows of queries and keys interleaved, so that rotated
/// pairs are neighbours.
const TRAITS: Traits =
    Traits { bias: Bias::Absent, pairs: RopePairs::Neighbours, qk_norm: QkNorm::Absent };

const MIXTURE: MixtureTraits = MixtureTraits {
    normalised: true,
    width: ("feed_forward_length", "intermediate_size"),
    shared_width: None,
};

fn spec(keys: &Keys<'_>) -> Result<DecoderSpec, ModelError> {
    match mixture::experts(keys)? {
        0 => dense::spec(keys, &TRAITS),
        _ => mixture::spec(keys, &TRAITS, &MIXTURE),
    }
}
