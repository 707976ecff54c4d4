//! Small shapes and constants that operations take.

use std::num::NonZero;

use crate::DType;

/// The heads of grouped-query attention. A row of fused projections is
/// `queries * dim | keys_values * dim | keys_values * dim`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads; a multiple of `keys_values`.
    pub queries: usize,
    /// Key heads, and as many value heads.
    pub keys_values: usize,
    /// Elements of one head.
    pub dim: usize,
}

impl Heads {
    /// Width of a row of fused query, key and value projections.
    #[must_use]
    pub const fn qkv_width(&self) -> usize {
        (self.queries + 2 * self.keys_values) * self.dim
    }

    /// Width of a row of attention output.
    #[must_use]
    pub const fn out_width(&self) -> usize {
        self.queries * self.dim
    }
}

/// Rotary position embedding (Su et al., "RoFormer", 2021), frequencies precomputed by the model.
#[derive(Clone, Debug)]
pub struct Rope {
    /// Which elements turn together.
    pub pairs: RopePairs,
    /// Radians a position for each pair, `rotated dims / 2` of them; elements beyond stay as they
    /// are.
    pub frequencies: Vec<f32>,
    /// Factor on both sine and cosine; 1 but for some context extensions.
    pub magnitude: f32,
}

/// Which elements of a head form a rotated pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairs {
    /// `(i, i + dims / 2)`.
    Halves,
    /// `(2 i, 2 i + 1)`.
    Neighbours,
}

/// What one layer's attention computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Number and size of heads.
    pub heads: Heads,
    /// Factor on `q k^T`.
    pub scale: f32,
    /// How many positions a query sees, itself the last of them; `None`: all before it (Beltagy et
    /// al., "Longformer", 2020).
    pub window: Option<NonZero<usize>>,
}

/// The paged cache of one layer: keys and values, each `[num_blocks, block_size, heads, dim]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShape {
    /// How keys and values are stored: a plain type.
    pub dtype: DType,
    /// Blocks in the pool.
    pub num_blocks: usize,
    /// Positions in a block.
    pub block_size: usize,
    /// Key heads, and as many value heads.
    pub heads: usize,
    /// Elements of one head.
    pub dim: usize,
}

/// The function on the gate of a gated MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))` (Hendrycks and Gimpel, "Gaussian
    /// Error Linear Units", 2016).
    Gelu,
    /// `x * sigmoid(x)`.
    Silu,
}

/// How a position chooses its experts (Shazeer et al., "Outrageously Large Neural Networks", 2017).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Router {
    /// Number of experts.
    pub experts: usize,
    /// How many of them a position chooses; 1 to `experts`.
    pub chosen: usize,
    /// Whether the weights of the chosen are divided by their sum.
    pub normalised: bool,
}

/// What the input of an expert product has a row for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpertInput {
    /// Every choice, in the order that the product before gave.
    Choices,
    /// Every position: each of its experts reads it.
    Positions,
}
