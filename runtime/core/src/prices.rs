//! What tokens cost the counter of their tenant, as measured steps have it.
//!
//! A step's time is shared by its positions. So a token that was sampled among few others was dear,
//! as where a batch of decodes reads all weights for itself, and a position of a long chunk cheap;
//! where both come in the same steps, they cost the same.

use crate::work::Work;
use crate::{Costs, Limits, Pricing};

/// Of a prompt token, where costs are measured; fine enough to tell quarters of it apart.
const PREFILL: u16 = Costs::MEASURED_MAX.prefill;

/// Costs stay as they are for so many steps: counters move by what was served, not by noise.
const STEPS: u32 = 64;

/// What is left of a step's weight after the next one.
const KEEP: f64 = 0.99;

/// The costs in force.
pub(crate) struct Prices {
    pub(crate) costs: Costs,
    pricing: Pricing,
    /// Of tokens sampled lately.
    tokens: Mean,
    /// Of positions of prompts lately.
    positions: Mean,
    num_steps: u32,
}

/// A mean time of which the latest steps have the most weight.
#[derive(Clone, Copy, Default)]
struct Mean {
    sum_us: f64,
    num: f64,
}

impl Prices {
    pub(crate) fn new(limits: &Limits) -> Self {
        let costs = match limits.pricing {
            Pricing::Fixed => limits.costs,
            Pricing::Measured => Costs { prefill: PREFILL, output: 2 * PREFILL },
        };
        let (tokens, positions) = (Mean::default(), Mean::default());
        Self { costs, pricing: limits.pricing, tokens, positions, num_steps: 0 }
    }

    /// A step of this work took so long.
    pub(crate) fn follow(&mut self, work: Work, took_us: u64) {
        if work.positions == 0 {
            return;
        }
        let each_us = took_us as f64 / f64::from(work.positions);
        self.tokens.add(each_us, work.sampled);
        self.positions.add(each_us, work.positions.saturating_sub(work.sampled));
        self.num_steps = self.num_steps.wrapping_add(1);
        if self.pricing == Pricing::Measured && self.num_steps.is_multiple_of(STEPS) {
            self.costs.output = self.output();
        }
    }

    fn output(&self) -> u16 {
        let (Some(token), Some(position)) = (self.tokens.us(), self.positions.us()) else {
            return self.costs.output;
        };
        let most = f64::from(Costs::MEASURED_MAX.output);
        (token / position * f64::from(PREFILL) + 0.5).clamp(1.0, most) as u16
    }
}

impl Mean {
    fn add(&mut self, each_us: f64, num: u32) {
        self.sum_us = self.sum_us * KEEP + each_us * f64::from(num);
        self.num = self.num * KEEP + f64::from(num);
    }

    /// `None` if there was nothing lately.
    fn us(&self) -> Option<f64> {
        (self.num >= 1.0 && self.sum_us > 0.0).then(|| self.sum_us / self.num)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(positions: u32, sampled: u32) -> Work {
        Work { positions, sampled, ..Work::default() }
    }

    fn output(steps: [(Work, u64); 2]) -> u16 {
        let (tokens, positions) = (Mean::default(), Mean::default());
        let costs = Costs { prefill: PREFILL, output: 8 };
        let pricing = Pricing::Measured;
        let mut prices = Prices { costs, pricing, tokens, positions, num_steps: 0 };
        for (work, took_us) in steps.into_iter().cycle().take(1_000) {
            prices.follow(work, took_us);
        }
        prices.costs.output
    }

    #[test]
    fn a_token_costs_what_its_steps_took_for_each_position() {
        let apart = output([(step(32, 32), 19_200), (step(1_000, 0), 40_000)]);
        assert_eq!(apart, 4 * 600 / 40, "600 us a token, 40 us a position of a prompt");
        let together = output([(step(64, 4), 64_000), (step(64, 4), 64_000)]);
        assert_eq!(together, 4, "in the same steps the same");
        let dear = output([(step(1, 1), 100_000), (step(1_000, 0), 1_000)]);
        assert_eq!(dear, Costs::MEASURED_MAX.output, "within bounds");
        assert_eq!(output([(step(8, 8), 9_000); 2]), 8, "without prompts as before");
    }
}
