//! Qwen3 (Yang et al., 2025), the dense ones: queries and keys are normed head by head.

use engine_backend::RopePairs;

use crate::ModelError;
use crate::architecture::Architecture;
use crate::architectures::dense::{self, Traits};
use crate::keys::Keys;
use crate::place::Place;
use crate::placement::{Weight, weight};
use crate::spec::{Bias, DecoderSpec, QkNorm};

pub(crate) const ARCHITECTURE: Architecture =
    Architecture { name: "qwen3", model_types: &["qwen3"], spec, weights: WEIGHTS };

const WEIGHTS: &[Weight] = &[
    weight("token_embd.weight", "model.embed_tokens.weight", Place::Embedding),
    weight("output_norm.weight", "model.norm.weight", Place::OutputNorm),
    weight("output.weight", "lm_head.weight", Place::Output),
    weight("blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight", Place::AttentionNorm),
    weight("blk.*.attn_q.weight", "model.layers.*.self_attn.q_proj.weight", Place::Query),
    weight("blk.*.attn_k.weight", "model.layers.*.self_attn.k_proj.weight", Place::Key),
    weight("blk.*.attn_v.weight", "model.layers.*.self_attn.v_proj.weight", Place::Value),
    weight("blk.*.attn_q_norm.weight", "model.layers.*.self_attn.q_norm.weight", Place::QueryNorm),
    weight("blk.*.attn_k_norm.weight", "model.layers.*.self_attn.k_norm.weight", Place::KeyNorm),
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
    Traits { bias: Bias::Absent, pairs: RopePairs::Halves, qk_norm: QkNorm::EachHead };

fn spec(keys: &Keys<'_>) -> Result<DecoderSpec, ModelError> {
    dense::spec(keys, &TRAITS)
}
