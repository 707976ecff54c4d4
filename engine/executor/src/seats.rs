//! What the engine remembers of running sequences: each seat's block table.

use engine_contract::{Row, RowTokens, SequenceId, StepId, TableChange};

/// The sizes that seats are checked against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) block_size: u32,
    pub(crate) num_blocks: u32,
    pub(crate) context: u32,
}

/// One sequence's place while it runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seat {
    sequence: Option<SequenceId>,
    last_step: Option<StepId>,
    /// Blocks in the order of positions.
    blocks: Vec<u32>,
    /// Positions computed, or about to be by steps launched.
    next: u32,
    /// Whether the last row drew a token.
    drew: bool,
    /// Whether the device keeps a tally of what the sequence says.
    tallied: bool,
}

impl Seat {
    pub(crate) fn new(sizes: Sizes) -> Self {
        let most = sizes.context.div_ceil(sizes.block_size);
        Self { blocks: Vec::with_capacity(most as usize), ..Self::default() }
    }

    /// Takes a row in.
    ///
    /// # Panics
    /// If the row breaks the contract.
    pub(crate) fn enter(&mut self, row: &Row, step: StepId, sizes: Sizes) {
        let Row { sequence, seat, start, .. } = row;
        assert!(self.last_step != Some(step), "{seat:?} has two rows in {step:?}");
        self.last_step = Some(step);
        let added = match &row.table {
            TableChange::Extend(blocks) => {
                assert!(
                    self.sequence == Some(*sequence),
                    "{seat:?} extends the table of {sequence:?}, but its sequence is {:?}",
                    self.sequence
                );
                assert!(
                    self.next == *start,
                    "{sequence:?} goes on at position {start}, but {} are computed",
                    self.next
                );
                blocks
            }
            TableChange::Fresh(blocks) => {
                self.sequence = Some(*sequence);
                self.blocks.clear();
                self.drew = false;
                self.tallied = false;
                blocks
            }
        };
        for block in added {
            assert!(block.0 < sizes.num_blocks, "{block:?} of {sequence:?} is not in the pool");
            self.blocks.push(block.0);
        }
        self.advance(row, sizes);
    }

    fn advance(&mut self, row: &Row, sizes: Sizes) {
        let Row { sequence, seat, start, tokens, .. } = row;
        assert!(!tokens.is_empty(), "the row of {sequence:?} computes nothing");
        if let RowTokens::Device = tokens {
            assert!(self.drew, "{seat:?} inherits a token, but its last row drew none");
        }
        let end = *start as usize + tokens.len();
        assert!(
            end <= sizes.context as usize,
            "{sequence:?} would have {end} positions, but the context is {}",
            sizes.context
        );
        let covered = self.blocks.len() * sizes.block_size as usize;
        assert!(end <= covered, "the table of {sequence:?} covers {covered} of {end} positions");
        self.next = u32::try_from(end).expect("within the context");
        self.drew = row.sample.is_some();
    }

    /// Whether the device's tally of the seat is yet to begin; from now on it is kept.
    pub(crate) fn begin_tally(&mut self) -> bool {
        !std::mem::replace(&mut self.tallied, true)
    }

    pub(crate) fn blocks(&self) -> &[u32] {
        &self.blocks
    }
}
