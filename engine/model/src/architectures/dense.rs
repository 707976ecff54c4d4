//! What Llama and its neighbours have in common: the same sizes by the same keys.

use std::num::NonZero;

use engine_backend::{Activation, Heads, Rope, RopePairs};

use crate::ModelError;
use crate::keys::{Key, Keys, LAYERS, SIZES};
use crate::rope::{self, Reach};
use crate::spec::{
    AttentionSpec, Bias, DecoderSpec, GatedMlp, LayerSpec, Mlp, Norms, Output, QkNorm,
};

/// Where these architectures differ, beside the names of their weights.
pub(crate) struct Traits {
    pub(crate) bias: Bias,
    /// Pairs of rotated elements as a GGUF file has them; a `config.json` means halves.
    pub(crate) pairs: RopePairs,
    pub(crate) qk_norm: QkNorm,
}

pub(crate) const HEADS: Key<'_> = ("attention.head_count", "num_attention_heads");
pub(crate) const KEYS: Key<'_> = ("attention.head_count_kv", "num_key_value_heads");
/// The width of dense layers.
pub(crate) const MLP_WIDTH: Key<'_> = ("feed_forward_length", "intermediate_size");
const VALUE_DIM: Key<'_> = ("attention.value_length", "");
const WINDOW: Key<'_> = ("attention.sliding_window", "sliding_window");

/// A model whose layers all have a gated MLP with SiLU.
pub(crate) fn spec(keys: &Keys<'_>, traits: &Traits) -> Result<DecoderSpec, ModelError> {
    let spec = frame(keys, traits)?;
    let dense = Some(GatedMlp { activation: silu(keys)?, width: mlp_width(keys)? });
    Ok(DecoderSpec { dense, ..spec })
}

/// All but the MLPs.
pub(crate) fn frame(keys: &Keys<'_>, traits: &Traits) -> Result<DecoderSpec, ModelError> {
    let context = keys.size(("context_length", "max_position_embeddings"), &(1..=1 << 30))?;
    let width = keys.size(("embedding_length", "hidden_size"), &SIZES)?;
    let layers = keys.size(("block_count", "num_hidden_layers"), &LAYERS)?;
    let heads = heads(keys, width)?;
    let bias = bias(keys, traits.bias)?;
    let rope = rope(keys, Reach::Global, (heads.dim, context), traits.pairs)?;
    let scale = 1.0 / (heads.dim as f32).sqrt();
    let windows = windows(keys, layers)?;
    let vocab = vocab(keys)?;
    Ok(DecoderSpec {
        vocab,
        logits: vocab,
        context,
        width,
        embedding_scale: 1.0,
        output: output(keys)?,
        norms: Norms { epsilon: epsilon(keys)?, offset: 0.0, after: false },
        attention: AttentionSpec { heads, scale, bias, qk_norm: traits.qk_norm, ropes: vec![rope] },
        dense: None,
        mixture: None,
        layers: windows
            .into_iter()
            .map(|window| LayerSpec { window, rope: 0, mlp: Mlp::Dense })
            .collect(),
    })
}

pub(crate) fn mlp_width(keys: &Keys<'_>) -> Result<usize, ModelError> {
    keys.size(MLP_WIDTH, &SIZES)
}

pub(crate) fn silu(keys: &Keys<'_>) -> Result<Activation, ModelError> {
    activation(keys, ("", "hidden_act"), &["silu", "swish"], Activation::Silu)
}

/// The only activation that an architecture has, by the names that a `config.json` may give to it.
pub(crate) fn activation(
    keys: &Keys<'_>,
    key: Key<'_>,
    names: &[&str],
    only: Activation,
) -> Result<Activation, ModelError> {
    match keys.string_if(key)? {
        Some(found) if !names.contains(&&*found) => {
            Err(keys.range(key, found.escape_debug(), names[0]))
        }
        _ => Ok(only),
    }
}

pub(crate) fn epsilon(keys: &Keys<'_>) -> Result<f32, ModelError> {
    keys.number(("attention.layer_norm_rms_epsilon", "rms_norm_eps"))
}

/// A rotation, its pairs as the checkpoint's format has them.
pub(crate) fn rope(
    keys: &Keys<'_>,
    reach: Reach,
    sizes: (usize, usize),
    pairs: RopePairs,
) -> Result<Rope, ModelError> {
    let rope = rope::read(keys, reach, sizes)?;
    Ok(if keys.are_ggufs() { Rope { pairs, ..rope } } else { rope })
}

/// Number of tokens: the checkpoint's own key, or the length of the tokenizer's list in a GGUF
/// file.
pub(crate) fn vocab(keys: &Keys<'_>) -> Result<usize, ModelError> {
    let key = ("vocab_size", "vocab_size");
    let listed = keys.listed_tokens()?;
    let vocab = match listed {
        Some(listed) => keys.size_or(key, &SIZES, listed)?,
        None => keys.size(key, &SIZES)?,
    };
    match listed {
        Some(listed) if listed != vocab => {
            let expected = format!("{listed}, the length of `tokenizer.ggml.tokens`");
            Err(keys.range(key, vocab, expected))
        }
        _ => Ok(vocab),
    }
}

/// A GGUF file whose embedding serves has no output weight; a `config.json` may say that it must
/// have one.
pub(crate) fn output(keys: &Keys<'_>) -> Result<Output, ModelError> {
    Ok(match keys.flag_if(("", "tie_word_embeddings"))? {
        Some(false) => Output::Own,
        Some(true) | None => Output::Either,
    })
}

pub(crate) fn heads(keys: &Keys<'_>, width: usize) -> Result<Heads, ModelError> {
    let queries = keys.size(HEADS, &SIZES)?;
    let keys_values = keys.size_or(KEYS, &SIZES, queries)?;
    if !queries.is_multiple_of(keys_values) {
        let expected = format!("a divisor of {queries}, the number of query heads");
        return Err(keys.range(KEYS, keys_values, expected));
    }
    let dim = match (width.is_multiple_of(queries)).then_some(width / queries) {
        Some(even) => keys.size_or(("attention.key_length", "head_dim"), &SIZES, even)?,
        None => keys.size(("attention.key_length", "head_dim"), &SIZES)?,
    };
    let value_dim = keys.size_or(VALUE_DIM, &SIZES, dim)?;
    if value_dim != dim {
        return Err(keys.range(VALUE_DIM, value_dim, format!("{dim}, the length of a key")));
    }
    Ok(Heads { queries, keys_values, dim })
}

/// What the architecture has; a `config.json` may add biases, of which only these are known.
fn bias(keys: &Keys<'_>, usual: Bias) -> Result<Bias, ModelError> {
    for key in [("", "attention_bias"), ("", "mlp_bias")] {
        if usual == Bias::Absent && keys.flag_or(key, false)? {
            return Err(keys.range(key, true, "false: these biases are not supported"));
        }
    }
    Ok(usual)
}

/// How far each layer sees: all of them within one window, or as far as a `config.json` says.
pub(crate) fn windows(
    keys: &Keys<'_>,
    layers: usize,
) -> Result<Vec<Option<NonZero<usize>>>, ModelError> {
    let key = ("", "layer_types");
    let window = window(keys)?;
    if let Some(types) = keys.strings_if(key)? {
        if types.len() != layers {
            let expected = format!("{layers}, one for each layer");
            return Err(keys.range(key, format_args!("an array of {}", types.len()), expected));
        }
        return types.iter().map(|kind| layer_window(keys, key, kind, window)).collect();
    }
    // Models that have this key use their window only if they say so, and only in later layers.
    let first = keys.size_if(("", "max_window_layers"), &(0..=u32::MAX))?;
    let used = keys.flag_or(("", "use_sliding_window"), first.is_none())?;
    let first = first.unwrap_or(0);
    Ok((0..layers).map(|layer| window.filter(|_| used && layer >= first)).collect())
}

/// The window of those layers that have one.
pub(crate) fn window(keys: &Keys<'_>) -> Result<Option<NonZero<usize>>, ModelError> {
    Ok(keys.size_if(WINDOW, &(0..=u32::MAX))?.and_then(NonZero::new))
}

fn layer_window(
    keys: &Keys<'_>,
    key: Key<'_>,
    kind: &str,
    window: Option<NonZero<usize>>,
) -> Result<Option<NonZero<usize>>, ModelError> {
    match kind {
        "full_attention" => Ok(None),
        "sliding_attention" if window.is_some() => Ok(window),
        "sliding_attention" => {
            Err(keys.range(WINDOW, "absent", "a number of positions, since layers need it"))
        }
        found => {
            let expected = "layers of full_attention or sliding_attention";
            Err(keys.range(key, found.escape_debug(), expected))
        }
    }
}
