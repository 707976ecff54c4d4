//! What tokens cost the counter of their tenant, as measured steps have it.

use crate::forecast::Forecast;
use crate::work::Work;
use crate::{Costs, Limits, Pricing};

/// Of a prompt token, where costs are measured; fine enough to tell quarters of it apart.
const PREFILL: u16 = 4;

/// Costs stay as they are for so many steps: counters move by what was served, not by noise.
const STEPS: u32 = 64;

/// How fast the usual number of rows follows that of the latest step.
const FOLLOW: f64 = 1.0 / 64.0;

/// The costs in force.
pub(crate) struct Prices {
    pub(crate) costs: Costs,
    pricing: Pricing,
    /// Positions of a full step.
    num_full: u32,
    /// Rows that sample in a usual step.
    num_rows: f64,
    num_steps: u32,
}

impl Prices {
    pub(crate) const fn new(limits: &Limits) -> Self {
        let costs = match limits.pricing {
            Pricing::Fixed => limits.costs,
            Pricing::Measured => Costs { prefill: PREFILL, output: 2 * PREFILL },
        };
        let (pricing, num_full) = (limits.pricing, limits.step_tokens_max);
        Self { costs, pricing, num_full, num_rows: 1.0, num_steps: 0 }
    }

    /// A step was measured, and the forecast has heard of it.
    pub(crate) fn follow(&mut self, work: Work, forecast: &Forecast) {
        if work.sampled > 0 {
            self.num_rows += (f64::from(work.sampled) - self.num_rows) * FOLLOW;
        }
        self.num_steps += 1;
        if self.pricing == Pricing::Measured && self.num_steps.is_multiple_of(STEPS) {
            self.costs.output = self.output(forecast);
        }
    }

    /// A token of a usual step of decodes, by a position of a full step of prompts.
    fn output(&self, forecast: &Forecast) -> u16 {
        let num_rows = (self.num_rows as u32).max(1);
        let decodes = Work { positions: num_rows, sampled: num_rows, ..Work::default() };
        let prompts = Work { positions: self.num_full, ..Work::default() };
        let token = forecast.time_us(decodes) / f64::from(num_rows);
        let position = forecast.time_us(prompts) / f64::from(self.num_full);
        let ratio = if position > 0.0 { token / position } else { 1.0 };
        let most = f64::from(Costs::MEASURED_MAX.output);
        (ratio * f64::from(PREFILL) + 0.5).clamp(1.0, most) as u16
    }
}
