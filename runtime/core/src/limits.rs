//! The numbers that a scheduler is built with.

use crate::Costs;

/// Sizes and bounds of one scheduler; they hold for its whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Positions in a cache block.
    pub block_size: u32,
    /// Blocks in the cache pool.
    pub num_blocks: u32,
    /// Most positions of one sequence, prompt and output together.
    pub context: u32,
    /// Most rows in a step, and as many seats.
    pub rows_max: u32,
    /// Most positions that one step computes.
    pub step_tokens_max: u32,
    /// Most steps planned and not yet completed.
    pub pipeline_depth: u32,
    /// Most requests waiting for their first step.
    pub waiting_max: u32,
    /// Most prompt tokens waiting, over all waiting requests.
    pub waiting_tokens_max: u64,
    /// Longest that a step may be in flight, in microseconds.
    pub step_timeout_us: u64,
    /// Whether full blocks are kept for prompts that begin alike.
    pub prefix_cache: PrefixCache,
    /// What tokens cost the counter of their tenant, where that is fixed.
    pub costs: Costs,
    /// Whether it is.
    pub pricing: Pricing,
    /// What a step may take while streams run, in microseconds; 0 is no bound. Prompts get what
    /// decodes leave of it.
    pub itl_target_us: u64,
    /// How much longer a request must have waited to stand in front of one that is more urgent by
    /// one step of priority, in microseconds.
    pub ageing_us: u64,
}

/// Where the costs of tokens come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pricing {
    /// They are given, and stay.
    Fixed,
    /// They follow measured steps.
    Measured,
}

/// Whether full blocks are kept for prompts that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixCache {
    /// A sequence's blocks are forgotten with it.
    Off,
    /// Full blocks stay until their memory is needed, the least recently used first.
    On,
}
