//! The paged cache as the scheduler sees it: blocks, who holds them, what they contain.
//!
//! Nothing here knows requests, steps or time. A block is given out for as many positions as are
//! planned, and comes back through [`KvCache::release`]; when that is safe is the caller's to know.

mod pool;
mod prefix;
mod table;

use alloc::vec::Vec;
use core::ops::Range;

use engine_contract::{BlockId, TokenId};

pub(crate) use pool::{Owner, Pool};
use prefix::Published;
pub(crate) use prefix::{Link, PrefixIndex};
pub(crate) use table::Table;

use crate::{Limits, PrefixCache};

/// The pool, the index of full blocks, and what keeps the two in agreement.
pub(crate) struct KvCache {
    pub(crate) pool: Pool,
    /// `None`: a sequence's blocks are forgotten with it.
    pub(crate) prefix: Option<PrefixIndex>,
    block_size: u32,
    /// The tokens of a block about to be published, kept for its memory.
    scratch: Vec<TokenId>,
}

/// The known blocks at the beginning of a text.
pub(crate) struct Prefix {
    pub(crate) blocks: Vec<BlockId>,
    /// Of those, blocks that nobody holds: taking them makes fewer available.
    pub(crate) num_idle: u32,
}

impl KvCache {
    pub(crate) fn new(limits: &Limits) -> Self {
        let prefix = match limits.prefix_cache {
            PrefixCache::Off => None,
            PrefixCache::On => Some(PrefixIndex::new(limits.num_blocks, limits.block_size)),
        };
        let pool = Pool::new(limits.num_blocks);
        Self { pool, prefix, block_size: limits.block_size, scratch: Vec::new() }
    }

    /// Gives the table as many blocks as `num_positions` need. The caller has made sure of them.
    pub(crate) fn grow(&mut self, table: &mut Table, num_positions: u32) {
        while table.len() < self.num_blocks_for(num_positions) {
            let (block, was_indexed) = self.pool.take(table.owner);
            if was_indexed {
                self.prefix.as_mut().expect("indexed by the index").evict(block);
            }
            table.blocks.push(block);
        }
    }

    /// Looks for the beginning of `text`. Its last token is left out, so that there is always one
    /// to compute: a position that nobody computes gives no logits to sample from.
    pub(crate) fn find(&self, salt: u64, text: &[TokenId]) -> Prefix {
        let mut blocks = Vec::new();
        if let (Some(index), [before @ .., _]) = (&self.prefix, text) {
            index.find(salt, before, &mut blocks);
        }
        let is_idle = |block: &&BlockId| self.pool.num_holders(**block) == 0;
        let num_idle = blocks.iter().filter(is_idle).count() as u32;
        Prefix { blocks, num_idle }
    }

    /// Whether, with `prefix` taken, `num_blocks` more are available.
    pub(crate) fn affords(&self, prefix: &Prefix, num_blocks: u32) -> bool {
        self.pool.num_available() - prefix.num_idle >= num_blocks
    }

    /// An empty table becomes one that begins with what was found.
    pub(crate) fn adopt(&mut self, table: &mut Table, prefix: Prefix) {
        prefix.blocks.iter().for_each(|&block| self.pool.hold(block, table.owner));
        if let (Some(index), Some(&last)) = (&self.prefix, prefix.blocks.last()) {
            table.link = index.link(last);
        }
        table.num_published = prefix.blocks.len() as u32;
        table.blocks = prefix.blocks;
    }

    /// Puts every block into the index that is full by now, `num_computed` positions being in it.
    pub(crate) fn publish<I: Iterator<Item = TokenId>>(
        &mut self,
        table: &mut Table,
        num_computed: u32,
        tokens: impl Fn(Range<u32>) -> I,
    ) {
        let Some(index) = &mut self.prefix else { return };
        while (table.num_published + 1) * self.block_size <= num_computed && table.link != Link::Cut
        {
            let start = table.num_published * self.block_size;
            self.scratch.clear();
            self.scratch.extend(tokens(start..start + self.block_size));
            let block = table.blocks[table.num_published as usize];
            table.link = match index.publish(table.link, &self.scratch, block) {
                Published::Cut => Link::Cut,
                Published::New(link) => {
                    self.pool.set_indexed(block, true);
                    link
                }
                Published::Twin(link) => link,
            };
            table.num_published += 1;
        }
    }

    /// Takes every block of the table out of the index: its content is not to be trusted.
    pub(crate) fn withdraw(&mut self, table: &mut Table) {
        let Some(index) = &mut self.prefix else { return };
        for &block in &table.blocks {
            if self.pool.is_indexed(block) {
                index.evict(block);
                self.pool.set_indexed(block, false);
            }
        }
        table.link = Link::Cut;
    }

    /// All blocks of the table come home, the last first: what is at the end of a prefix is evicted
    /// before what it hangs from.
    pub(crate) fn release(&mut self, table: &Table) {
        table.blocks.iter().rev().for_each(|&block| self.pool.release(block));
    }

    pub(crate) const fn num_blocks_for(&self, num_positions: u32) -> u32 {
        num_positions.div_ceil(self.block_size)
    }

    /// Positions that a table could hold if it got all that is available.
    pub(crate) fn reach(&self, table: &Table) -> u64 {
        u64::from(table.len() + self.pool.num_available()) * u64::from(self.block_size)
    }
}
