//! What a decoder-only transformer is, as data.
//!
//! An architecture turns a file's metadata into a [`DecoderSpec`]; the one decoder runs every spec.
//! Where models differ, a small enum says how, and is matched in one place. A model whose control
//! flow differs gets a decoder of its own, not a switch in here.

use engine_backend::{Activation, CacheShape, Heads, Rope};

/// A stack of equal layers between an embedding and an output product.
#[derive(Clone, Debug)]
pub struct DecoderSpec {
    /// Number of tokens.
    pub vocab: usize,
    /// Most positions that the model was trained for.
    pub context: usize,
    /// Number of layers.
    pub layers: usize,
    /// Elements of the residual stream.
    pub width: usize,
    /// Added to the mean square in every norm.
    pub norm_epsilon: f32,
    /// The attention of every layer.
    pub attention: AttentionSpec,
    /// What follows the attention in every layer.
    pub mlp: Mlp,
}

/// Grouped-query attention.
#[derive(Clone, Debug)]
pub struct AttentionSpec {
    /// Number and size of heads.
    pub heads: Heads,
    /// Factor on `q k^T`.
    pub scale: f32,
    /// How positions turn queries and keys.
    pub rope: Rope,
    /// What is added to the projections.
    pub bias: Bias,
    /// What happens to queries and keys before they are turned.
    pub qk_norm: QkNorm,
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
    /// `down(activation(gate(x)) * up(x))`.
    Gated {
        /// On the gate.
        activation: Activation,
        /// Outputs of `gate` and of `up`.
        width: usize,
    },
}

impl DecoderSpec {
    /// The cache of one layer, `num_blocks` blocks of `block_size` positions.
    #[must_use]
    pub const fn cache_shape(&self, num_blocks: usize, block_size: usize) -> CacheShape {
        let heads = self.attention.heads;
        CacheShape { num_blocks, block_size, heads: heads.keys_values, dim: heads.dim }
    }
}
