//! Gemma 3 (Kamath et al., 2025), its text side: five layers that see a window for each one that
//! sees everything, norms before and after, embeddings scaled.

use engine_backend::{Activation, RopePairs};

use crate::ModelError;
use crate::architecture::Architecture;
use crate::architectures::dense::{self, Traits};
use crate::architectures::names::{DENSE, FRAME, HEAD_NORMS};
use crate::keys::{Key, Keys, SIZES};
use crate::place::Place;
use crate::placement::{Weight, weight};
use crate::rope::Reach;
use crate::spec::{Bias, DecoderSpec, GatedMlp, LayerSpec, Mlp, Norms, QkNorm};

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "gemma3",
    model_types: &["gemma3_text"],
    spec,
    weights: &[FRAME, HEAD_NORMS, DENSE, OWN],
};

/// What only this architecture has, or calls so.
const OWN: &[Weight] = &[
    weight(
        "blk.*.post_attention_norm.weight",
        "model.layers.*.post_attention_layernorm.weight",
        Place::AttentionAfterNorm,
    ),
    weight(
        "blk.*.ffn_norm.weight",
        "model.layers.*.pre_feedforward_layernorm.weight",
        Place::MlpNorm,
    ),
    weight(
        "blk.*.post_ffw_norm.weight",
        "model.layers.*.post_feedforward_layernorm.weight",
        Place::MlpAfterNorm,
    ),
];

const TRAITS: Traits =
    Traits { bias: Bias::Absent, pairs: RopePairs::Halves, qk_norm: QkNorm::EachHead };

/// Every so many layers, one sees everything.
const PATTERN: Key<'_> = ("attention.sliding_window_pattern", "sliding_window_pattern");

fn spec(keys: &Keys<'_>) -> Result<DecoderSpec, ModelError> {
    refuse(keys)?;
    let mut spec = dense::frame(keys, &TRAITS)?;
    let local = dense::rope(
        keys,
        Reach::Local,
        (spec.attention.heads.dim, spec.context),
        RopePairs::Halves,
    )?;
    spec.attention.ropes.push(local);
    spec.attention.scale = scale(keys, &spec)?;
    spec.embedding_scale = (spec.width as f32).sqrt();
    // A file that was converted has the one added already.
    let offset = if keys.are_ggufs() { 0.0 } else { 1.0 };
    spec.norms = Norms { offset, after: true, ..spec.norms };
    spec.layers = layers(keys, &spec)?;
    let names = ["gelu_pytorch_tanh"];
    let key = ("", "hidden_activation");
    let activation = dense::activation(keys, key, &names, Activation::Gelu)?;
    spec.dense = Some(GatedMlp { activation, width: dense::mlp_width(keys)? });
    Ok(spec)
}

/// What a `config.json` of this type may ask for, and the decoder does not have.
fn refuse(keys: &Keys<'_>) -> Result<(), ModelError> {
    for name in ["attn_logit_softcapping", "final_logit_softcapping"] {
        if let Some(cap) = keys.number_if((name, name))? {
            return Err(keys.range((name, name), cap, "none: capped logits are not supported"));
        }
    }
    let key = ("", "use_bidirectional_attention");
    if keys.flag_or(key, false)? {
        return Err(keys.range(key, true, "false: positions see only those before them"));
    }
    Ok(())
}

/// The scale is that of a head, but in the largest of these models, where it is that of an even
/// share of the width; GGUF has no key for it.
fn scale(keys: &Keys<'_>, spec: &DecoderSpec) -> Result<f32, ModelError> {
    const LAYERS_OF_THE_LARGEST: usize = 62;
    let heads = spec.attention.heads;
    let usual = if keys.are_ggufs() && spec.layers.len() == LAYERS_OF_THE_LARGEST {
        spec.width / heads.queries
    } else {
        heads.dim
    };
    Ok(1.0 / keys.number_or(("", "query_pre_attn_scalar"), usual as f32)?.sqrt())
}

fn layers(keys: &Keys<'_>, spec: &DecoderSpec) -> Result<Vec<LayerSpec>, ModelError> {
    let number = spec.layers.len();
    let windows = if keys.has(("", "layer_types")) {
        dense::windows(keys, number)?
    } else {
        let window = dense::window(keys)?;
        let every = keys.size_or(PATTERN, &SIZES, 6)?;
        (1..=number).map(|nth| window.filter(|_| !nth.is_multiple_of(every))).collect()
    };
    let layer = |window: Option<_>| LayerSpec {
        window,
        rope: usize::from(window.is_some()),
        mlp: Mlp::Dense,
    };
    Ok(windows.into_iter().map(layer).collect())
}
