//! The index of full blocks by what they contain.
//!
//! The index is a forest: a block's entry names the entry before it and the tokens of the block, so
//! a path from a root spells a whole prefix. Entries are found through a hash of both, and taken
//! only after both compare equal: a collision costs a comparison, never a wrong answer. Entry
//! serials are not reused, so what hangs from an evicted entry is unreachable rather than wrong.

use alloc::vec;
use alloc::vec::Vec;
use core::hash::Hasher;

use engine_contract::{BlockId, TokenId};
use hashbrown::HashTable;
use rustc_hash::FxHasher;

/// What a block hangs from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// The entry before it is gone: what follows can no longer be found, so nothing is published.
    Cut,
    /// The entry of the block before it.
    Entry { block: BlockId, serial: u64 },
    /// Nothing: it is the first block, among requests of this salt.
    Salt(u64),
}

/// Where a block ended up that was offered to the index.
pub(crate) enum Published {
    /// What it would hang from is gone.
    Cut,
    /// It is in the index now.
    New(Link),
    /// Another block of the same prefix is there already; what follows hangs from that one.
    Twin(Link),
}

/// The index. At most one entry a block, none for a block that is not full and computed.
pub(crate) struct PrefixIndex {
    block_size: usize,
    entries: Vec<Entry>,
    /// The tokens of every entry, `block_size` for each block of the pool.
    tokens: Vec<TokenId>,
    by_content: HashTable<BlockId>,
    num_serials: u64,
}

#[derive(Clone)]
struct Entry {
    /// 0: the block is not in the index.
    serial: u64,
    hash: u64,
    parent: Link,
}

const ABSENT: Entry = Entry { serial: 0, hash: 0, parent: Link::Cut };

impl PrefixIndex {
    pub(crate) fn new(num_blocks: u32, block_size: u32) -> Self {
        Self {
            block_size: block_size as usize,
            entries: vec![ABSENT; num_blocks as usize],
            tokens: vec![TokenId(0); num_blocks as usize * block_size as usize],
            by_content: HashTable::new(),
            num_serials: 0,
        }
    }

    /// Appends to `found` the blocks that hold the longest known prefix of `text`.
    pub(crate) fn find(&self, salt: u64, text: &[TokenId], found: &mut Vec<BlockId>) {
        let mut link = Link::Salt(salt);
        for tokens in text.chunks_exact(self.block_size) {
            let Some(block) = self.lookup(content_hash(link, tokens), link, tokens) else { return };
            found.push(block);
            link = self.link(block);
        }
    }

    /// Offers a full, computed block that hangs from `parent`.
    pub(crate) fn publish(
        &mut self,
        parent: Link,
        tokens: &[TokenId],
        block: BlockId,
    ) -> Published {
        if !self.is_alive(parent) {
            return Published::Cut;
        }
        let hash = content_hash(parent, tokens);
        if let Some(twin) = self.lookup(hash, parent, tokens) {
            return Published::Twin(self.link(twin));
        }
        self.num_serials += 1;
        self.entries[block.0 as usize] = Entry { serial: self.num_serials, hash, parent };
        self.tokens[span(block, self.block_size)].copy_from_slice(tokens);
        let entries = &self.entries;
        self.by_content.insert_unique(hash, block, |other| entries[other.0 as usize].hash);
        Published::New(self.link(block))
    }

    /// Forgets a block's entry.
    pub(crate) fn evict(&mut self, block: BlockId) {
        let hash = self.entries[block.0 as usize].hash;
        let entry = self.by_content.find_entry(hash, |&other| other == block);
        entry.expect("an indexed block has an entry").remove();
        self.entries[block.0 as usize] = ABSENT;
    }

    /// What the block after this one hangs from.
    pub(crate) fn link(&self, block: BlockId) -> Link {
        Link::Entry { block, serial: self.entries[block.0 as usize].serial }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_content.len()
    }

    /// Whether the block has an entry, and its own content leads to it.
    pub(crate) fn knows(&self, block: BlockId) -> bool {
        let Entry { serial, hash, parent } = self.entries[block.0 as usize];
        let tokens = &self.tokens[span(block, self.block_size)];
        serial != 0 && self.lookup(hash, parent, tokens) == Some(block)
    }

    fn is_alive(&self, link: Link) -> bool {
        match link {
            Link::Cut => false,
            Link::Entry { block, serial } => self.entries[block.0 as usize].serial == serial,
            Link::Salt(_) => true,
        }
    }

    fn lookup(&self, hash: u64, parent: Link, tokens: &[TokenId]) -> Option<BlockId> {
        let same = |block: &BlockId| {
            self.entries[block.0 as usize].parent == parent
                && self.tokens[span(*block, self.block_size)] == *tokens
        };
        self.by_content.find(hash, same).copied()
    }
}

fn span(block: BlockId, block_size: usize) -> core::ops::Range<usize> {
    let start = block.0 as usize * block_size;
    start..start + block_size
}

fn content_hash(parent: Link, tokens: &[TokenId]) -> u64 {
    let mut hasher = FxHasher::default();
    match parent {
        Link::Cut => {}
        Link::Entry { serial, .. } => hasher.write_u64(serial),
        // The complement keeps small salts apart from small serials.
        Link::Salt(salt) => hasher.write_u64(!salt),
    }
    tokens.iter().for_each(|token| hasher.write_u32(token.0));
    hasher.finish()
}
