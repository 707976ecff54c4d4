//! Qwen1.5-MoE and Qwen2-MoE (Yang et al., 2024): [`super::qwen2`] with experts, one of them shared
//! by all positions.

use engine_backend::RopePairs;

use crate::ModelError;
use crate::architecture::Architecture;
use crate::architectures::dense::Traits;
use crate::architectures::mixture::{self, MixtureTraits};
use crate::keys::Keys;
use crate::place::Place;
use crate::placement::{Weight, weight};
use crate::spec::{Bias, DecoderSpec, QkNorm};

pub(crate) const ARCHITECTURE: Architecture =
    Architecture { name: "qwen2moe", model_types: &["qwen2_moe"], spec, weights: WEIGHTS };

const WEIGHTS: &[Weight] = &[
    weight("token_embd.weight", "model.embed_tokens.weight", Place::Embedding),
    weight("output_norm.weight", "model.norm.weight", Place::OutputNorm),
    weight("output.weight", "lm_head.weight", Place::Output),
    weight("blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight", Place::AttentionNorm),
    weight("blk.*.attn_q.weight", "model.layers.*.self_attn.q_proj.weight", Place::Query),
    weight("blk.*.attn_k.weight", "model.layers.*.self_attn.k_proj.weight", Place::Key),
    weight("blk.*.attn_v.weight", "model.layers.*.self_attn.v_proj.weight", Place::Value),
    weight("blk.*.attn_q.bias", "model.layers.*.self_attn.q_proj.bias", Place::QueryBias),
    weight("blk.*.attn_k.bias", "model.layers.*.self_attn.k_proj.bias", Place::KeyBias),
    weight("blk.*.attn_v.bias", "model.layers.*.self_attn.v_proj.bias", Place::ValueBias),
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
    weight("blk.*.ffn_gate_inp.weight", "model.layers.*.mlp.gate.weight", Place::Router),
    weight(
        "blk.*.ffn_gate_exps.weight",
        "model.layers.*.mlp.experts.@.gate_proj.weight",
        Place::ExpertGate,
    ),
    weight(
        "blk.*.ffn_up_exps.weight",
        "model.layers.*.mlp.experts.@.up_proj.weight",
        Place::ExpertUp,
    ),
    weight(
        "blk.*.ffn_down_exps.weight",
        "model.layers.*.mlp.experts.@.down_proj.weight",
        Place::ExpertDown,
    ),
    weight(
        "blk.*.ffn_gate_inp_shexp.weight",
        "model.layers.*.mlp.shared_expert_gate.weight",
        Place::SharedRouter,
    ),
    weight(
        "blk.*.ffn_gate_shexp.weight",
        "model.layers.*.mlp.shared_expert.gate_proj.weight",
        Place::SharedGate,
    ),
    weight(
        "blk.*.ffn_up_shexp.weight",
        "model.layers.*.mlp.shared_expert.up_proj.weight",
        Place::SharedUp,
    ),
    weight(
        "blk.*.ffn_down_shexp.weight",
        "model.layers.*.mlp.shared_expert.down_proj.weight",
        Place::SharedDown,
    ),
];

const TRAITS: Traits =
    Traits { bias: Bias::QueriesKeysValues, pairs: RopePairs::Halves, qk_norm: QkNorm::Absent };

const MIXTURE: MixtureTraits = MixtureTraits {
    normalised: false,
    width: ("expert_feed_forward_length", "moe_intermediate_size"),
    shared_width: Some(("expert_shared_feed_forward_length", "shared_expert_intermediate_size")),
};

fn spec(keys: &Keys<'_>) -> Result<DecoderSpec, ModelError> {
    mixture::spec(keys, &TRAITS, &MIXTURE)
}
