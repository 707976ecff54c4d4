//! The runtime's settings, and what is derived from them once an engine is known.

use std::time::Duration;

use engine_contract::EngineInfo;
use runtime_core::{Costs, Limits, PrefixCache, Pricing};

/// Settings of the scheduler, the sessions and the life of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Steps planned and not completed at any moment: 1 to 4.
    pub pipeline_depth: u32,
    /// Most positions that one step computes; the engine's own bound applies as well.
    pub step_tokens_max: u32,
    /// Most rows in a step; the engine's own bound applies as well.
    pub rows_max: u32,
    /// Most requests waiting for their first step, and most prompts waiting to be encoded.
    pub waiting_max: u32,
    /// Most prompt tokens waiting, over all waiting requests.
    pub waiting_tokens_max: u64,
    /// What a step may take while streams run, so that none waits longer for its next token; 0 is
    /// no bound.
    pub itl_target_ms: u64,
    /// Longest that a step may be in flight before the engine counts as failed.
    pub step_timeout_ms: u64,
    /// Longest that a reader may leave text untaken before its request is cancelled.
    pub stall_timeout_ms: u64,
    /// Longest that a drain waits for open requests.
    pub drain_timeout_ms: u64,
    /// How much longer a request must have waited to stand in front of one of its tenant's that is
    /// more urgent by one step of priority.
    pub ageing_ms: u64,
    /// Whether prompts that begin alike share their cache blocks.
    pub prefix_cache: bool,
    /// Threads that encode long prompts.
    pub encode_threads: usize,
    /// Longest prompt, in bytes, that is encoded on the arbiter it came in on.
    pub encode_inline_bytes_max: usize,
    /// What follows when the engine fails.
    pub failure: FailurePolicy,
}

/// What follows when the engine fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailurePolicy {
    /// Answer what is open, then stop with exit code 70. For devices whose errors only a new
    /// process clears.
    Exit,
    /// Build a new engine and serve on.
    Restart,
}

/// A setting outside its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {value}, and must be {expected}")]
pub struct ConfigError {
    /// The setting's name.
    pub key: &'static str,
    /// Its value.
    pub value: u64,
    /// What would be right.
    pub expected: &'static str,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pipeline_depth: 2,
            step_tokens_max: 512,
            rows_max: 64,
            waiting_max: 256,
            waiting_tokens_max: 262_144,
            itl_target_ms: 50,
            step_timeout_ms: 60_000,
            stall_timeout_ms: 30_000,
            drain_timeout_ms: 30_000,
            ageing_ms: 1_000,
            prefix_cache: true,
            encode_threads: 1,
            encode_inline_bytes_max: 4_096,
            failure: FailurePolicy::Restart,
        }
    }
}

impl Config {
    /// Checks every range.
    ///
    /// # Errors
    /// The first setting that is outside its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |key, value: u64, range: std::ops::RangeInclusive<u64>, expected| {
            if range.contains(&value) { Ok(()) } else { Err(ConfigError { key, value, expected }) }
        };
        let count = 1..=1 << 20;
        let count_says = "from 1 to 1048576";
        let time = 1..=86_400_000;
        let time_says = "from 1 to 86400000 (a day)";
        check("pipeline_depth", self.pipeline_depth.into(), 1..=4, "from 1 to 4")?;
        check("step_tokens_max", self.step_tokens_max.into(), count.clone(), count_says)?;
        check("rows_max", self.rows_max.into(), count.clone(), count_says)?;
        check("waiting_max", self.waiting_max.into(), count, count_says)?;
        check("waiting_tokens_max", self.waiting_tokens_max, 1..=u64::MAX, "at least 1")?;
        check("itl_target_ms", self.itl_target_ms, 0..=60_000, "from 0 to 60000 (a minute)")?;
        check("step_timeout_ms", self.step_timeout_ms, time.clone(), time_says)?;
        check("stall_timeout_ms", self.stall_timeout_ms, time.clone(), time_says)?;
        check("drain_timeout_ms", self.drain_timeout_ms, time, time_says)?;
        let (time, time_says) = (0..=86_400_000, "from 0 to 86400000 (a day)");
        check("ageing_ms", self.ageing_ms, time, time_says)?;
        check("encode_threads", self.encode_threads as u64, 1..=256, "from 1 to 256")
    }

    /// The scheduler's limits on this engine: the smaller of what is asked and what the engine has.
    #[must_use]
    pub fn limits(&self, info: &EngineInfo) -> Limits {
        Limits {
            block_size: info.block_size,
            num_blocks: info.num_blocks,
            context: info.context,
            rows_max: self.rows_max.min(info.rows_max),
            step_tokens_max: self.step_tokens_max.min(info.step_tokens_max),
            pipeline_depth: self.pipeline_depth,
            waiting_max: self.waiting_max,
            waiting_tokens_max: self.waiting_tokens_max,
            step_timeout_us: self.step_timeout_ms.saturating_mul(1_000),
            prefix_cache: if self.prefix_cache { PrefixCache::On } else { PrefixCache::Off },
            costs: Costs::default(),
            pricing: Pricing::Measured,
            itl_target_us: self.itl_target_ms.saturating_mul(1_000),
            ageing_us: self.ageing_ms.saturating_mul(1_000),
        }
    }

    /// How long a reader may leave text untaken.
    pub(crate) fn stall_timeout(&self) -> Duration {
        Duration::from_millis(self.stall_timeout_ms)
    }

    /// How long a drain may take.
    pub(crate) fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn an_error_names_the_setting_and_its_range() {
        let error = Config { pipeline_depth: 9, ..Config::default() }.validate().unwrap_err();
        assert_eq!(error.to_string(), "pipeline_depth is 9, and must be from 1 to 4");
        let error = Config { stall_timeout_ms: 0, ..Config::default() }.validate().unwrap_err();
        assert_eq!(error.key, "stall_timeout_ms");
    }
}
