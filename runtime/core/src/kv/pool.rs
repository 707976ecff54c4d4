//! The blocks of the cache: how many tables hold each, and in which order free ones are taken.
//!
//! Every block is in exactly one state. *Used*: some table holds it. *Cached*: no table does, but
//! the prefix index knows its content. *Free*: neither. Cached and free blocks stand in one list in
//! the order of eviction, the free ones in front. What a block contains is none of the pool's
//! business.
//!
//! A used block is charged to one owner, however many hold it: to that of the first who took hold
//! of it.

use alloc::vec;
use alloc::vec::Vec;

use engine_contract::BlockId;

/// Whom used blocks are charged to: a small number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner(pub(crate) u32);

/// Reference counts and the list of blocks to take next.
pub(crate) struct Pool {
    /// How many tables hold each block.
    holders: Vec<u32>,
    /// Whom each used block is charged to.
    owners: Vec<Owner>,
    /// Used blocks of each owner.
    num_owned: Vec<u32>,
    /// Whether the prefix index knows each block.
    indexed: Vec<bool>,
    idle: IdleList,
    num_cached: u32,
}

impl Pool {
    pub(crate) fn new(num_blocks: u32) -> Self {
        let mut idle = IdleList::new(num_blocks);
        (0..num_blocks).for_each(|block| idle.push_back(block));
        Self {
            holders: vec![0; num_blocks as usize],
            owners: vec![Owner(0); num_blocks as usize],
            num_owned: Vec::new(),
            indexed: vec![false; num_blocks as usize],
            idle,
            num_cached: 0,
        }
    }

    /// Takes the block that is evicted first, for one holder. The index must forget it if it is
    /// still indexed: the second value says so.
    pub(crate) fn take(&mut self, owner: Owner) -> (BlockId, bool) {
        let block = self.idle.first().expect("who takes a block has looked at `num_available`");
        let was_indexed = self.indexed[block as usize];
        self.hold(BlockId(block), owner);
        self.indexed[block as usize] = false;
        (BlockId(block), was_indexed)
    }

    /// One more table holds the block.
    pub(crate) fn hold(&mut self, block: BlockId, owner: Owner) {
        let index = block.0 as usize;
        if self.holders[index] == 0 {
            self.idle.remove(block.0);
            self.num_cached -= u32::from(self.indexed[index]);
            self.charge(index, owner);
        }
        self.holders[index] += 1;
    }

    /// One table fewer holds the block. Nobody's block goes to the front of the list when its
    /// content is worthless, else to the back, as the most recently used.
    pub(crate) fn release(&mut self, block: BlockId) {
        let index = block.0 as usize;
        assert!(
            self.holders[index] > 0,
            "law 1: block {block} is released by a table not holding it"
        );
        self.holders[index] -= 1;
        if self.holders[index] > 0 {
            return;
        }
        self.num_owned[self.owners[index].0 as usize] -= 1;
        if self.indexed[index] {
            self.idle.push_back(block.0);
            self.num_cached += 1;
        } else {
            self.idle.push_front(block.0);
        }
    }

    /// Says whether the prefix index knows a block that somebody holds.
    pub(crate) fn set_indexed(&mut self, block: BlockId, indexed: bool) {
        assert!(self.holders[block.0 as usize] > 0, "only a held block changes in the index");
        self.indexed[block.0 as usize] = indexed;
    }

    pub(crate) fn is_indexed(&self, block: BlockId) -> bool {
        self.indexed[block.0 as usize]
    }

    pub(crate) fn num_holders(&self, block: BlockId) -> u32 {
        self.holders[block.0 as usize]
    }

    /// Used blocks that are charged to `owner`.
    pub(crate) fn num_owned(&self, owner: Owner) -> u32 {
        self.num_owned.get(owner.0 as usize).copied().unwrap_or(0)
    }

    pub(crate) fn owner(&self, block: BlockId) -> Owner {
        self.owners[block.0 as usize]
    }

    fn charge(&mut self, index: usize, owner: Owner) {
        let slot = owner.0 as usize;
        if self.num_owned.len() <= slot {
            self.num_owned.resize(slot + 1, 0);
        }
        self.num_owned[slot] += 1;
        self.owners[index] = owner;
    }

    pub(crate) fn num_blocks(&self) -> u32 {
        self.holders.len() as u32
    }

    /// Blocks that can be taken now, free and cached.
    pub(crate) const fn num_available(&self) -> u32 {
        self.idle.len
    }

    pub(crate) const fn num_cached(&self) -> u32 {
        self.num_cached
    }

    pub(crate) fn num_used(&self) -> u32 {
        self.num_blocks() - self.idle.len
    }

    /// Free and cached blocks in the order of eviction.
    pub(crate) fn idle(&self) -> impl Iterator<Item = BlockId> {
        self.idle.iter().map(BlockId)
    }
}

/// A doubly linked list threaded through the block numbers, closed into a ring by one sentinel, so
/// that a block leaves the middle in constant time when a prompt matches it.
struct IdleList {
    next: Vec<u32>,
    previous: Vec<u32>,
    len: u32,
}

impl IdleList {
    fn new(num_blocks: u32) -> Self {
        let ring = vec![num_blocks; num_blocks as usize + 1];
        Self { next: ring.clone(), previous: ring, len: 0 }
    }

    fn sentinel(&self) -> u32 {
        self.next.len() as u32 - 1
    }

    fn first(&self) -> Option<u32> {
        (self.len > 0).then(|| self.next[self.sentinel() as usize])
    }

    fn push_front(&mut self, block: u32) {
        self.insert_after(self.sentinel(), block);
    }

    fn push_back(&mut self, block: u32) {
        self.insert_after(self.previous[self.sentinel() as usize], block);
    }

    fn insert_after(&mut self, before: u32, block: u32) {
        let after = self.next[before as usize];
        self.next[before as usize] = block;
        self.previous[block as usize] = before;
        self.next[block as usize] = after;
        self.previous[after as usize] = block;
        self.len += 1;
    }

    fn remove(&mut self, block: u32) {
        let (before, after) = (self.previous[block as usize], self.next[block as usize]);
        self.next[before as usize] = after;
        self.previous[after as usize] = before;
        self.len -= 1;
    }

    fn iter(&self) -> impl Iterator<Item = u32> {
        let links = core::iter::successors(self.first(), |&block| {
            let next = self.next[block as usize];
            (next != self.sentinel()).then_some(next)
        });
        links.take(self.next.len())
    }
}
