//! What a step computes, in the quantities that its time depends on.

use crate::sequence::Sequence;

/// The work of a step that is planned or being planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Positions computed.
    pub(crate) positions: u32,
    /// Rows that sample a token.
    pub(crate) sampled: u32,
    /// Cached positions that rows of one position read.
    pub(crate) reads: u64,
    /// Pairs of a position and one that it attends to, in longer rows.
    pub(crate) pairs: u64,
}

impl Work {
    /// A row of `len` positions from `start` on.
    pub(crate) fn row(start: u32, len: u32, samples: bool) -> Self {
        let (first, len_wide) = (u64::from(start), u64::from(len));
        let pairs = len_wide * first + len_wide * (len_wide + 1) / 2;
        let (reads, pairs) = if len == 1 { (pairs, 0) } else { (0, pairs) };
        Self { positions: len, sampled: samples.into(), reads, pairs }
    }

    /// The next `len` positions of a sequence.
    pub(crate) fn chunk(sequence: &Sequence, len: u32) -> Self {
        let start = sequence.num_planned;
        Self::row(start, len, start + len == sequence.horizon())
    }

    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            positions: self.positions + other.positions,
            sampled: self.sampled + other.sampled,
            reads: self.reads + other.reads,
            pairs: self.pairs + other.pairs,
        }
    }
}
