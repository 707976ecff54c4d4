//! Which part of a model a device computes.

use std::ops::Range;

/// One of the devices that compute every step together, each with its share of the weights
/// (Shoeybi et al., "Megatron-LM: Training Multi-Billion Parameter Language Models Using Model
/// Parallelism", 2019).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    index: usize,
    of: usize,
}

impl Rank {
    /// The only one.
    pub const ALONE: Self = Self { index: 0, of: 1 };

    /// The rank of this index among so many.
    ///
    /// # Panics
    /// If there is no such rank.
    #[must_use]
    pub const fn new(index: usize, of: usize) -> Self {
        assert!(index < of, "ranks are counted from 0 on");
        Self { index, of }
    }

    /// All ranks of so many.
    pub fn all(of: usize) -> impl Iterator<Item = Self> {
        (0..of).map(move |index| Self { index, of })
    }

    /// Its place among the others, from 0 on.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index
    }

    /// How many there are.
    #[must_use]
    pub const fn of(self) -> usize {
        self.of
    }

    /// Whether it has nobody to share with.
    #[must_use]
    pub const fn is_alone(self) -> bool {
        self.of == 1
    }

    /// Its share of so many things, each rank's as large.
    ///
    /// # Panics
    /// If they cannot be shared out.
    #[must_use]
    pub fn share(self, total: usize) -> Range<usize> {
        assert!(total.is_multiple_of(self.of), "{total} shared by {}", self.of);
        let each = total / self.of;
        self.index * each..(self.index + 1) * each
    }
}
