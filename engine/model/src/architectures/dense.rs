//! What Llama and its dense neighbours have in common: keys of the same names.

use engine_backend::{Activation, Heads, Rope, RopePairs};

use crate::ModelError;
use crate::architecture::{Keys, SIZES};
use crate::spec::{AttentionSpec, Bias, DecoderSpec, Mlp, QkNorm};

/// Where these architectures differ, beside the names of their weights.
pub(crate) struct Traits {
    pub(crate) bias: Bias,
    pub(crate) pairs: RopePairs,
    pub(crate) qk_norm: QkNorm,
}

pub(crate) fn spec(keys: &Keys<'_>, traits: &Traits) -> Result<DecoderSpec, ModelError> {
    if let experts @ 1.. = keys.size_or("expert_count", &(0..=u32::MAX), Some(0))? {
        return Err(keys.range("expert_count", experts, "0, since experts are not supported"));
    }
    let context = keys.size("context_length", &(1..=1 << 30))?;
    let window = keys.size_or("attention.sliding_window", &(0..=u32::MAX), Some(0))?;
    if (1..context).contains(&window) {
        let expected = format!("none below the context of {context}: windows are not supported");
        return Err(keys.range("attention.sliding_window", window, expected));
    }
    let width = keys.size("embedding_length", &SIZES)?;
    let heads = heads(keys, width)?;
    Ok(DecoderSpec {
        vocab: keys.vocab()?,
        context,
        layers: keys.size("block_count", &SIZES)?,
        width,
        norm_epsilon: keys.number_or("attention.layer_norm_rms_epsilon", None)?,
        attention: AttentionSpec {
            heads,
            scale: 1.0 / (heads.dim as f32).sqrt(),
            rope: rope(keys, heads.dim, traits.pairs)?,
            bias: traits.bias,
            qk_norm: traits.qk_norm,
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

fn rope(keys: &Keys<'_>, dim: usize, pairs: RopePairs) -> Result<Rope, ModelError> {
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
    Ok(Rope { pairs, frequencies, magnitude: 1.0 })
}
