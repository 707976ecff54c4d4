//! Small shapes and constants that operations take.

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

/// The paged cache of one layer: keys and values, each `[num_blocks, block_size, heads, dim]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShape {
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
    /// `x * sigmoid(x)`.
    Silu,
}
