//! What an engine says of itself once it is loaded.

/// The sizes of a loaded engine. They hold for its whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// Number of tokens in the vocabulary; every token id is below it.
    pub vocab: u32,
    /// Most positions of one sequence, prompt and output together.
    pub context: u32,
    /// Positions in a cache block.
    pub block_size: u32,
    /// Blocks in the cache pool.
    pub num_blocks: u32,
    /// Most rows in a step; seats are `0..rows_max`.
    pub rows_max: u32,
    /// Most positions in a step, over all rows.
    pub step_tokens_max: u32,
    /// Bytes of weights held.
    pub weight_bytes: u64,
    /// Bytes of the key and value cache.
    pub kv_bytes: u64,
    /// Whether it can be left behind with a step that never ends, and another one built beside it:
    /// not where both would need the same device.
    pub can_be_abandoned: bool,
}
