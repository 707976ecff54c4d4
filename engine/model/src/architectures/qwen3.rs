//! Qwen3 (Yang et al., 2025), the dense ones: queries and keys are normed head by head.

use engine_backend::RopePairs;

use crate::ModelError;
use crate::architecture::{Architecture, Keys};
use crate::architectures::dense::{self, Traits};
use crate::place::{Place, Weight, optional, required};
use crate::spec::{Bias, DecoderSpec, QkNorm};

pub(crate) const ARCHITECTURE: Architecture =
    Architecture { name: "qwen3", spec, weights: WEIGHTS };

/// An absent `output.weight` means that the embedding serves as the output product.
const WEIGHTS: &[Weight] = &[
    required("token_embd.weight", Place::Embedding),
    required("output_norm.weight", Place::OutputNorm),
    optional("output.weight", Place::Output),
    required("blk.*.attn_norm.weight", Place::AttentionNorm),
    required("blk.*.attn_q.weight", Place::Query),
    required("blk.*.attn_k.weight", Place::Key),
    required("blk.*.attn_v.weight", Place::Value),
    required("blk.*.attn_q_norm.weight", Place::QueryNorm),
    required("blk.*.attn_k_norm.weight", Place::KeyNorm),
    required("blk.*.attn_output.weight", Place::AttentionOutput),
    required("blk.*.ffn_norm.weight", Place::MlpNorm),
    required("blk.*.ffn_gate.weight", Place::Gate),
    required("blk.*.ffn_up.weight", Place::Up),
    required("blk.*.ffn_down.weight", Place::Down),
];

const TRAITS: Traits =
    Traits { bias: Bias::Absent, pairs: RopePairs::Halves, qk_norm: QkNorm::EachHead };

fn spec(keys: &Keys<'_>) -> Result<DecoderSpec, ModelError> {
    dense::spec(keys, &TRAITS)
}
