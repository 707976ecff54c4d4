//! What the experiments run on.

use std::collections::BTreeMap;

use engine_sim::{CostModel, Sizes};
use runtime::{Config, Limits};
use simulation::{Order, Report, Setting, Slo, Trace, run};

/// A device with a model, and the settings that it is served with.
pub(crate) struct Device {
    pub(crate) name: &'static str,
    costs: CostModel,
    pub(crate) rows_max: u32,
    step_tokens_max: u32,
    /// What steps beside running streams may take.
    pub(crate) itl_target_ms: u64,
}

impl Device {
    pub(crate) fn cpu() -> Self {
        let costs = CostModel::cpu();
        Self { name: "2 CPU cores", costs, rows_max: 64, step_tokens_max: 256, itl_target_ms: 20 }
    }

    pub(crate) fn h100() -> Self {
        let costs = CostModel::h100();
        Self { name: "H100", costs, rows_max: 256, step_tokens_max: 1_280, itl_target_ms: 28 }
    }

    pub(crate) const fn context(&self) -> u32 {
        self.costs.context
    }

    /// Serves a trace, with a target for the time between tokens.
    pub(crate) fn serve(&self, trace: &Trace, order: Order, itl_target_ms: u64) -> Report {
        let (limits, costs) = (self.limits(itl_target_ms), self.costs.clone());
        let slo = Slo { ttft_us: 1_000_000, itl_us: 100_000 };
        run(trace, &Setting { limits, costs, order, slo, tenants: BTreeMap::new() })
    }

    fn limits(&self, itl_target_ms: u64) -> Limits {
        let sizes = Sizes {
            vocab: 1,
            context_max: 0,
            block_size: 16,
            kv_bytes_max: 0,
            rows_max: self.rows_max,
            step_tokens_max: self.step_tokens_max,
        };
        let config = Config {
            rows_max: self.rows_max,
            step_tokens_max: self.step_tokens_max,
            waiting_max: 1_000,
            waiting_tokens_max: 1 << 30,
            itl_target_ms,
            ..Config::default()
        };
        config.limits(&sizes.info(&self.costs))
    }
}
