//! The blocks of one sequence, and how many of them the engine and the prefix index know.

use alloc::vec::Vec;

use engine_contract::{BlockId, TableChange};

use super::pool::Owner;
use super::prefix::Link;

/// Position `p` of the sequence lies in `blocks[p / block_size]`.
pub(crate) struct Table {
    /// Whom its blocks are charged to.
    pub(super) owner: Owner,
    pub(crate) blocks: Vec<BlockId>,
    /// Leading blocks that the engine has been told, for the seat of now.
    num_announced: usize,
    /// Leading blocks that are in the prefix index, or whose twins are.
    pub(crate) num_published: u32,
    /// What the next block to publish hangs from.
    pub(crate) link: Link,
}

impl Table {
    /// No blocks; what is published will hang from `salt`.
    pub(crate) const fn new(salt: u64, owner: Owner) -> Self {
        let link = Link::Salt(salt);
        Self { owner, blocks: Vec::new(), num_announced: 0, num_published: 0, link }
    }

    /// What the engine has to hear before a row that needs every block held now.
    pub(crate) fn change(&mut self) -> TableChange {
        let blocks = self.blocks[self.num_announced..].to_vec();
        let is_first = self.num_announced == 0;
        self.num_announced = self.blocks.len();
        if is_first { TableChange::Fresh(blocks) } else { TableChange::Extend(blocks) }
    }

    pub(crate) fn len(&self) -> u32 {
        self.blocks.len() as u32
    }
}
