//! What several architectures call their weights: the names of GGUF, and of the modules that
//! Hugging Face `transformers` keeps them in.

use crate::place::Place;
use crate::placement::{Weight, weight};

/// Everything around the MLPs.
pub(crate) const FRAME: &[Weight] = &[
    weight("token_embd.weight", "model.embed_tokens.weight", Place::Embedding),
    weight("output_norm.weight", "model.norm.weight", Place::OutputNorm),
    weight("output.weight", "lm_head.weight", Place::Output),
    weight("blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight", Place::AttentionNorm),
    weight("blk.*.attn_q.weight", "model.layers.*.self_attn.q_proj.weight", Place::Query),
    weight("blk.*.attn_k.weight", "model.layers.*.self_attn.k_proj.weight", Place::Key),
    weight("blk.*.attn_v.weight", "model.layers.*.self_attn.v_proj.weight", Place::Value),
    weight(
        "blk.*.attn_output.weight",
        "model.layers.*.self_attn.o_proj.weight",
        Place::AttentionOutput,
    ),
];

/// The norm before an MLP, where there is none after attention.
pub(crate) const MLP_NORM: &[Weight] = &[weight(
    "blk.*.ffn_norm.weight",
    "model.layers.*.post_attention_layernorm.weight",
    Place::MlpNorm,
)];

/// What is added to queries, keys and values.
pub(crate) const BIASES: &[Weight] = &[
    weight("blk.*.attn_q.bias", "model.layers.*.self_attn.q_proj.bias", Place::QueryBias),
    weight("blk.*.attn_k.bias", "model.layers.*.self_attn.k_proj.bias", Place::KeyBias),
    weight("blk.*.attn_v.bias", "model.layers.*.self_attn.v_proj.bias", Place::ValueBias),
];

/// Norms of single heads.
pub(crate) const HEAD_NORMS: &[Weight] = &[
    weight("blk.*.attn_q_norm.weight", "model.layers.*.self_attn.q_norm.weight", Place::QueryNorm),
    weight("blk.*.attn_k_norm.weight", "model.layers.*.self_attn.k_norm.weight", Place::KeyNorm),
];

/// A gated MLP.
pub(crate) const DENSE: &[Weight] = &[
    weight("blk.*.ffn_gate.weight", "model.layers.*.mlp.gate_proj.weight", Place::Gate),
    weight("blk.*.ffn_up.weight", "model.layers.*.mlp.up_proj.weight", Place::Up),
    weight("blk.*.ffn_down.weight", "model.layers.*.mlp.down_proj.weight", Place::Down),
];

/// Experts, and what chooses among them.
pub(crate) const EXPERTS: &[Weight] = &[
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
];

/// An expert that every position goes through, and its gate.
pub(crate) const SHARED_EXPERT: &[Weight] = &[
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
