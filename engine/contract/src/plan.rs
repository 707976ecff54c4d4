//! What the scheduler asks of the engine for one step.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use crate::{BlockId, Sampling, SeatId, SequenceId, StepId, TokenId};

/// One forward pass over a batch that mixes prefill chunks and decodes.
#[derive(Clone, Debug)]
pub struct StepPlan {
    /// Which step this is.
    pub step: StepId,
    /// One row per sequence in the step; a sequence appears at most once.
    pub rows: Vec<Row>,
    /// Why the plan stopped growing.
    pub stop: Stop,
}

/// One sequence's share of a step.
#[derive(Clone, Debug)]
pub struct Row {
    /// Whose row it is; the output names it again.
    pub sequence: SequenceId,
    /// The sequence's place in the engine's tables.
    pub seat: SeatId,
    /// First position that this row computes. Every earlier position is already in the cache, or is
    /// computed by a step launched before this one.
    pub start: u32,
    /// The tokens at `start..start + len`.
    pub tokens: RowTokens,
    /// How the seat's block table changes before the row runs. Afterwards it covers every position
    /// up to `start + len`.
    pub table: TableChange,
    /// How to draw the token that follows the row's last position; `None` for a prefill chunk that
    /// is not the last.
    pub sample: Option<Arc<Sampling>>,
    /// How many of the sequence's tokens were given; those after them were drawn.
    pub num_prompt: u32,
}

/// Where a row's input tokens are.
#[derive(Clone, Debug)]
pub enum RowTokens {
    /// The one token that the seat's previous row sampled. It may still be in flight: the engine
    /// reads it from its own memory.
    Device,
    /// Tokens that the host knows: the range of the shared text of the sequence. A seat's first row
    /// that draws has its tokens here, and the text from the first position on.
    Host(Arc<[TokenId]>, Range<usize>),
}

/// How a seat's block table changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableChange {
    /// These blocks follow those that the seat already has. Often empty.
    Extend(Vec<BlockId>),
    /// The seat has a new sequence (or a resumed one): forget its table, it is this one now.
    Fresh(Vec<BlockId>),
}

/// Why a plan stopped growing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// No free cache block for the next row.
    Blocks,
    /// Nothing else was runnable.
    Empty,
    /// Running streams would wait too long for a longer step.
    Latency,
    /// No seat, or no row, was left.
    Rows,
    /// Whoever else wants something has reached a bound of its own tenant.
    Tenant,
    /// The step's token budget was spent.
    Tokens,
}

impl RowTokens {
    /// How many positions the row computes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Device => 1,
            Self::Host(_, range) => range.len(),
        }
    }

    /// Whether the row computes nothing. No plan has such a row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl StepPlan {
    /// Positions that the step computes, over all rows.
    #[must_use]
    pub fn num_tokens(&self) -> usize {
        self.rows.iter().map(|row| row.tokens.len()).sum()
    }
}
