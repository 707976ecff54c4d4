//! The host side of one step: prepared once, then only read.

use std::ops::Range;

/// Where everything of a step is. `T` positions over all rows, in row order.
///
/// The vectors are recycled from step to step; their lengths tell the sizes.
#[derive(Clone, Debug, Default)]
pub struct StepLayout {
    /// `[T]` input token ids. An entry named in `inherits` is overwritten on the device.
    pub tokens: Vec<u32>,
    /// `[T]` position in its sequence of each input token.
    pub positions: Vec<u32>,
    /// `[T]` cache slot (`block * block_size + offset`) that each position's key and value go to.
    pub slots: Vec<u32>,
    /// One for each row.
    pub spans: Vec<Span>,
    /// The block tables of all rows, one after the other; spans point in here.
    pub blocks: Vec<u32>,
    /// Inputs that the device has and the host has not.
    pub inherits: Vec<Inherit>,
    /// Rows that draw a token, in row order.
    pub samples: Vec<Sample>,
}

/// One row of a step: the positions `start..start + len` of one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The row's place in the `[T]` vectors.
    pub tokens: Range<usize>,
    /// Position of its first token; as many are in the cache before it.
    pub start: usize,
    /// The row's block table, in [`StepLayout::blocks`]; covers `start + len` positions.
    pub blocks: Range<usize>,
}

/// An input token that is the last one sampled at a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inherit {
    /// Index into the `[T]` vectors.
    pub token: usize,
    /// The seat whose last sampled token it is.
    pub seat: usize,
}

/// A row that draws a token from the logits of its last position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Index into the `[T]` vectors of the row's last position.
    pub token: usize,
    /// The seat that remembers the drawn token.
    pub seat: usize,
    /// Position that the drawn token will have.
    pub position: u32,
    /// How to draw.
    pub draw: Draw,
}

/// How to draw a token; see the contract's `Sampling` for the meaning and the order of the filters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// 0 is greedy.
    pub temperature: f32,
    /// 0 keeps all.
    pub top_k: u32,
    /// 1 keeps all.
    pub top_p: f32,
    /// 0 keeps all.
    pub min_p: f32,
    /// Seed of the draws; the position is the counter.
    pub seed: u64,
}

impl StepLayout {
    /// Empties every vector, and keeps their memory.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.slots.clear();
        self.spans.clear();
        self.blocks.clear();
        self.inherits.clear();
        self.samples.clear();
    }
}
