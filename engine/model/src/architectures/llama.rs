//! Llama (Touvron et al., 2023; Grattafiori et al., 2024), and the many models that have its shape:
//! Mistral (Jiang et al., 2023), whose queries see a window, and Mixtral (Jiang et al., 2024),
//! whose layers have experts.

use engine_backend::RopePairs;

use crate::ModelError;
use crate::architecture::Architecture;
use crate::architectures::dense::{self, Traits};
use crate::architectures::mixture::{self, MixtureTraits};
use crate::keys::Keys;
use crate::place::Place;
use crate::placement::{Weight, weight};
use crate::spec::{Bias, DecoderSpec, QkNorm};

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "llama",
    model_types: &["llama", "mistral", "mixtral"],
    spec,
    weights: WEIGHTS,
};

const WEIGHTS: &[Weight] = &[
    weight("token_embd.weight", "model.embed_tokens.weight", Place::Embedding),
    weight("output_norm.weight", "model.norm.weight", Place::OutputNorm),
    weight("output.weight", "lm_head.weight", Place::Output),
    weight("rope_freqs.weight", "", Place::RopeDivisors),
    weight("blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight", Place::AttentionNorm),
    weight("blk.*.attn_q.weight", "model.layers.*.self_attn.q_proj.weight", Place::Query),
    weight("blk.*.attn_k.weight", "model.layers.*.self_attn.k_proj.weight", Place::Key),
    weight("blk.*.attn_v.weight", "model.layers.*.self_attn.v_proj.weight", Place::Value),
    weight(
        "blk.*.attn_output.weight",
        "model.layers.*.self_attn.o_proj.weight",
        Place::AttentionOutput,
    ),
    weight(
        "blk.*.ffn_norm.weight",
        "model.layers.*.post_attention_layernorm.weight",
        Place::MlpNorm,
    ),
    weight("blk.*.ffn_gate.weight", "model.layers.*.mlp.gate_proj.weight", Place::Gate),
    weight("blk.*.ffn_up.weight", "model.layers.*.mlp.up_proj.weight", Place::Up),
    weight("blk.*.ffn_down.weight", "model.layers.*.mlp.down_proj.weight", Place::Down),
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
