//! What a decoder-only transformer is, as data.
//!
//! An architecture turns what a checkpoint says of itself into a [`DecoderSpec`]; the one decoder
//! runs every spec. Where models differ, a small enum says how, and is matched in one place. A
//! model whose control flow differs gets a decoder of its own, not a switch in here.

use std::num::NonZero;

use engine_backend::{Activation, AttentionShape, CacheShape, DType, Heads, Rope, Router};

/// A stack of layers between an embedding and an output product.
#[derive(Clone, Debug)]
pub struct DecoderSpec {
    /// Number of tokens.
    pub vocab: usize,
    /// Outputs of the output product: one for each token, or a rank's share of them.
    pub logits: usize,
    /// Most positions that the model was trained for.
    pub context: usize,
    /// Elements of the residual stream.
    pub width: usize,
    /// Factor on embeddings.
    pub embedding_scale: f32,
    /// Which weight the output product has.
    pub output: Output,
    /// The norms.
    pub norms: Norms,
    /// What the attention of all layers has in common.
    pub attention: AttentionSpec,
    /// The MLP of layers that have [`Mlp::Dense`].
    pub dense: Option<GatedMlp>,
    /// The experts of layers that have [`Mlp::Mixture`].
    pub mixture: Option<Mixture>,
    /// The layers, the first one first.
    pub layers: Vec<LayerSpec>,
}

/// The weight of the output product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Its own if there is one, the embedding's otherwise.
    Either,
    /// Its own.
    Own,
}

/// Root-mean-square norms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norms {
    /// Added to the mean square.
    pub epsilon: f32,
    /// Added to every weight of a norm, as it is stored.
    pub offset: f32,
    /// Whether what attention and MLP give is normed too, before it is added to the residual
    /// stream.
    pub after: bool,
}

/// Grouped-query attention.
#[derive(Clone, Debug)]
pub struct AttentionSpec {
    /// Number and size of heads.
    pub heads: Heads,
    /// Factor on `q k^T`.
    pub scale: f32,
    /// What is added to the projections.
    pub bias: Bias,
    /// What happens to queries and keys before they are turned.
    pub qk_norm: QkNorm,
    /// How positions turn queries and keys; each layer has one of these.
    pub ropes: Vec<Rope>,
}

/// Where one layer differs from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerSpec {
    /// How many positions a query sees, itself the last of them; `None`: all before it.
    pub window: Option<NonZero<usize>>,
    /// Index of its rotation in [`AttentionSpec::ropes`].
    pub rope: usize,
    /// What follows its attention.
    pub mlp: Mlp,
}

/// The biases of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// None.
    Absent,
    /// On queries, keys and values; none on the projection back.
    QueriesKeysValues,
}

/// Norms of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    Absent,
    /// Root-mean-square norms of single heads: all query heads share one weight, all key heads
    /// another.
    EachHead,
}

/// The feed-forward part of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mlp {
    /// [`DecoderSpec::dense`].
    Dense,
    /// [`DecoderSpec::mixture`].
    Mixture,
}

/// `down(activation(gate(x)) * up(x))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatedMlp {
    /// On the gate.
    pub activation: Activation,
    /// Outputs of `gate` and of `up`.
    pub width: usize,
}

/// A mixture of experts, each a [`GatedMlp`] (Shazeer et al., "Outrageously Large Neural Networks",
/// 2017).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mixture {
    /// How a position chooses among them.
    pub router: Router,
    /// Every one of them.
    pub expert: GatedMlp,
    /// One that every position goes through besides those that it chose, multiplied by the sigmoid
    /// of a product of its own.
    pub shared: Option<GatedMlp>,
}

impl DecoderSpec {
    /// The cache of one layer, `num_blocks` blocks of `block_size` positions.
    #[must_use]
    pub const fn cache_shape(
        &self,
        num_blocks: usize,
        block_size: usize,
        dtype: DType,
    ) -> CacheShape {
        let heads = self.attention.heads;
        CacheShape { dtype, num_blocks, block_size, heads: heads.keys_values, dim: heads.dim }
    }

    /// What a layer's attention computes.
    #[must_use]
    pub const fn attention_shape(&self, layer: &LayerSpec) -> AttentionShape {
        let AttentionSpec { heads, scale, .. } = self.attention;
        AttentionShape { heads, scale, window: layer.window }
    }
}
