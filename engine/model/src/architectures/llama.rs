//! Llama (Touvron et al., 2023; Grattafiori et al., 2024), and the many models that have its shape.

use engine_backend::{Activation, Heads, Rope, RopePairs};

use crate::ModelError;
use crate::architecture::{Architecture, Keys, SIZES};
use crate::place::{Place, Weight, optional, required};
use crate::spec::{AttentionSpec, DecoderSpec, Mlp};

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

fn spec(keys: &Keys<'_>) -> Result<DecoderSpec, ModelError> {
    if let experts @ 1.. = keys.size_or("expert_count", &(0..=u32::MAX), Some(0))? {
        return Err(keys.range("expert_count", experts, "0, since experts are not supported"));
    }
    let width = keys.size("embedding_length", &SIZES)?;
    let heads = heads(keys, width)?;
    Ok(DecoderSpec {
        vocab: keys.vocab()?,
        context: keys.size("context_length", &(1..=1 << 30))?,
        layers: keys.size("block_count", &SIZES)?,
        width,
        norm_epsilon: keys.number_or("attention.layer_norm_rms_epsilon", None)?,
        attention: AttentionSpec {
            heads,
            scale: 1.0 / (heads.dim as f32).sqrt(),
            rope: rope(keys, heads.dim)?,
        },
        mlp: Mlp::Gated {
            activation: Activation::Silu,
            width: keys.size("feed_forward_length", &SIZES)?,
        },
    })
}

fn heads(keys: &Keys<'_>, width: usize) -> Result<Heads, ModelError> {
    let queries = keys.size("attention.head_count", &SIZES)?;
    let keys_values = keys.size_or("attention.head_count_kv", &SIZES, Some(queries))?;
    if !queries.is_multiple_of(keys_values) {
        let expected = format!("a divisor of {queries}, the number of query heads");
        return Err(keys.range("attention.head_count_kv", keys_values, expected));
    }
    let even = (width.is_multiple_of(queries)).then_some(width / queries);
    let dim = keys.size_or("attention.key_length", &SIZES, even)?;
    let value_dim = keys.size_or("attention.value_length", &SIZES, Some(dim))?;
    if value_dim != dim {
        let expected = format!("{dim}, the length of a key");
        return Err(keys.range("attention.value_length", value_dim, expected));
    }
    Ok(Heads { queries, keys_values, dim })
}

/// The query and key weights of this architecture are stored with their rows interleaved, so that
/// rotated pairs are neighbours.
fn rope(keys: &Keys<'_>, dim: usize) -> Result<Rope, ModelError> {
    let dims = keys.size_or("rope.dimension_count", &SIZES, Some(dim))?;
    if dims > dim || !dims.is_multiple_of(2) {
        let expected = format!("an even number up to {dim}, the size of a head");
        return Err(keys.range("rope.dimension_count", dims, expected));
    }
    let base = f64::from(keys.number_or("rope.freq_base", Some(10_000.0))?);
    let factor = match keys.string_or("rope.scaling.type", "none")? {
        "none" => 1.0,
        "linear" => f64::from(keys.number_or("rope.scaling.factor", None)?),
        found => {
            return Err(keys.range("rope.scaling.type", found.escape_debug(), "none or linear"));
        }
    };
    let frequencies = (0..dims / 2)
        .map(|pair| (base.powf(-2.0 * pair as f64 / dims as f64) / factor) as f32)
        .collect();
    Ok(Rope { pairs: RopePairs::Neighbours, frequencies, magnitude: 1.0 })
}
