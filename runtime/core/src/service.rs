//! How much service a tenant has had: the virtual token counter of Sheng et al., "Fairness in
//! Serving Large Language Models" (OSDI 2024), with weights.
//!
//! A token costs what [`Costs`] say, and a tenant's counter is the cost of its tokens divided by
//! its weight. Counters are compared, so they are exact: the quotient is taken of the sum, not of
//! each token.

/// What a token costs its tenant's counter. The paper takes 1 and 2; measured steps know better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Each prompt token that is computed for the first time. One found in the prefix cache is
    /// free, because nobody computes it; one computed again after a preemption is free, because
    /// that was the scheduler's doing.
    pub prefill: u16,
    /// Each token that is sampled.
    pub output: u16,
}

/// Service per weight, in [`Counter::UNIT`]ths of a cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counter(pub u128);

/// One tenant's counter, and what it grows by.
pub(crate) struct Service {
    /// Where it stood when it was last set.
    base: Counter,
    /// The cost of all tokens since.
    cost: u64,
    weight: u32,
}

impl Default for Costs {
    fn default() -> Self {
        Self { prefill: 1, output: 2 }
    }
}

impl Costs {
    /// The most that tokens cost where costs are measured: far apart, but not without bound, since
    /// the bound of fairness is in proportion.
    pub const MEASURED_MAX: Self = Self { prefill: 4, output: 256 };

    /// The cost of a row.
    pub(crate) fn of(self, num_prefill: u32, num_output: u32) -> u64 {
        u64::from(self.prefill) * u64::from(num_prefill)
            + u64::from(self.output) * u64::from(num_output)
    }
}

impl Counter {
    /// A cost of one, at weight one. Fine enough to tell apart weights up to a million.
    pub const UNIT: u128 = 1 << 32;

    /// Whole costs per weight.
    #[must_use]
    pub fn whole(self) -> u64 {
        u64::try_from(self.0 / Self::UNIT).unwrap_or(u64::MAX)
    }
}

impl Service {
    pub(crate) const fn new(weight: u32) -> Self {
        Self { base: Counter(0), cost: 0, weight }
    }

    pub(crate) fn counter(&self) -> Counter {
        let grown = u128::from(self.cost) * Counter::UNIT / u128::from(self.weight);
        Counter(self.base.0 + grown)
    }

    pub(crate) fn charge(&mut self, cost: u64) {
        self.cost += cost;
    }

    /// What was not asked for is not owed later: the counter is at least `floor`.
    pub(crate) fn lift(&mut self, floor: Counter) {
        if self.counter() < floor {
            (self.base, self.cost) = (floor, 0);
        }
    }

    /// From now on everything counts by another weight.
    pub(crate) fn reweigh(&mut self, weight: u32) {
        *self = Self { base: self.counter(), cost: 0, weight };
    }
}
