//! Llama (Touvron et al., 2023; Grattafiori et al., 2024), and the many models that have its shape.

use engine_backend::RopePairs;

use crate::ModelError;
use crate::architecture::{Architecture, Keys};
use crate::architectures::dense::{self, Traits};
use crate::place::{Place, Weight, optional, required};
use crate::spec::{Bias, DecoderSpec, QkNorm};

pub(crate) const ARCHITECTURE: Architecture =
    Architecture { name: "llama", spec, weights: WEIGHTS };

/// An absent `output.weight` means that the embedding serves as the output product.
const WEIGHTS: &[Weight] = &[
    required("token_embd.weight", Place::Embedding),
    required("output_norm.weight", Place::OutputNorm),
    optional("output.weight", Place::Output),
    optional("rope_freqs.weight", Place::RopeDivisors),
    required("blk.*.attn_norm.weight", Place::AttentionNorm),
    required("blk.*.attn_q.weight", Place::Query),
    required("blk.*.attn_k.weight", Place::Key),
    required("blk.*.attn_v.weight", Place::Value),
    required("blk.*.attn_output.weight", Place::AttentionOutput),
    required("blk.*.ffn_norm.weight", Place::MlpNorm),
    required("blk.*.ffn_gate.weight", Place::Gate),
    required("blk.*.ffn_up.weight", Place::Up),
    required("blk.*.ffn_down.weight", Place::Down),
];

/// The query and key weights of this architecture are stored with their rows interleaved, so that
/// rotated pairs are neighbours.
const TRAITS: Traits =
    Traits { bias: Bias::Absent, pairs: RopePairs::Neighbours, qk_norm: QkNorm::Absent };

fn spec(keys: &Keys<'_>) -> Result<DecoderSpec, ModelError> {
    dense::spec(keys, &TRAITS)
}
