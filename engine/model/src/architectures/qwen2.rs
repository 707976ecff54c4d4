//! Qwen2 (Yang et al., 2024) and Qwen2.5, the dense ones: queries, keys and values have biases.

use engine_backend::RopePairs;

use crate::ModelError;
use crate::architecture::Architecture;
use crate::architectures::dense::{self, Traits};
use crate::keys::Keys;
use crate::place::Place;
use crate::placement::{Weight, weight};
use crate::spec::{Bias, DecoderSpec, QkNorm};

pub(crate) const ARCHITECTURE: Architecture =
    Architecture { name: "qwen2", model_types: &["qwen2"], spec, weights: WEIGHTS };

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
];

const TRAITS: Traits =
    Traits { bias: Bias::QueriesKeysValues, pairs: RopePairs::Halves, qk_norm: QkNorm::Absent };

fn spec(keys: &Keys<'_>) -> Result<DecoderSpec, ModelError> {
    dense::spec(keys, &TRAITS)
}
