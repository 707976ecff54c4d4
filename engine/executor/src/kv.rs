//! How large the cache of keys and values is.

use engine_backend::Backend;
use engine_model::{Blueprint, DecoderSpec};

use crate::budget::Budget;
use crate::{Config, LoadError};

/// The cache's bytes where nobody says them and memory is the machine's own.
const BYTES: u64 = 1 << 30;

/// The sizes of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    /// Blocks in the pool.
    pub(crate) num_blocks: u32,
    /// Bytes of the pool over all layers.
    pub(crate) bytes: u64,
    /// Most positions of one sequence: what the model and the configuration allow, and the pool
    /// holds.
    pub(crate) context: u32,
}

impl Pool {
    /// As many blocks as the configuration's bytes hold, or what the model leaves of the device's
    /// memory, but no more than `rows_max` sequences of full length can use.
    pub(crate) fn plan<B: Backend>(
        backend: &B,
        blueprint: &Blueprint<'_>,
        config: &Config,
    ) -> Result<Self, LoadError> {
        let block_bytes = block_bytes::<B>(blueprint.spec(), config);
        let allowed = allowed(blueprint.spec().context as u64, config);
        let budget = Budget::plan(backend, blueprint, config, allowed)?;
        let bytes_max = match (config.kv_bytes_max, &budget) {
            (0, Some(budget)) => {
                let blocks = allowed.div_ceil(config.block_size.into());
                budget.rest(blocks.saturating_mul(block_bytes))
            }
            (0, None) => BYTES,
            (most, _) => most,
        };
        let pool = Self::fit(allowed, block_bytes, bytes_max, config)?;
        if let Some(budget) = budget {
            budget.check(pool.bytes, block_bytes, config.block_size)?;
        }
        Ok(pool)
    }

    fn fit(
        allowed: u64,
        block_bytes: u64,
        bytes_max: u64,
        config: &Config,
    ) -> Result<Self, LoadError> {
        let affordable = bytes_max / block_bytes;
        if affordable == 0 {
            return Err(LoadError::CacheTooSmall { found: bytes_max, block_bytes });
        }
        let block_size = u64::from(config.block_size);
        let usable = allowed.div_ceil(block_size) * u64::from(config.rows_max);
        // Slots are counted in 32 bits.
        let num_blocks = affordable.min(usable).min(u64::from(u32::MAX) / block_size);
        let narrow = |count: u64| u32::try_from(count).expect("at most the slots, which fit");
        Ok(Self {
            num_blocks: narrow(num_blocks),
            bytes: num_blocks * block_bytes,
            context: narrow(allowed.min(num_blocks * block_size)),
        })
    }
}

/// Most positions of a sequence, by the model and the configuration.
fn allowed(model_context: u64, config: &Config) -> u64 {
    match config.context_max {
        0 => model_context,
        most => model_context.min(most.into()),
    }
}

/// Bytes of one block over all layers.
pub(crate) fn block_bytes<B: Backend>(spec: &DecoderSpec, config: &Config) -> u64 {
    let shape = spec.cache_shape(1, config.block_size as usize, config.kv_type.dtype());
    B::cache_bytes(shape) as u64 * spec.layers.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK_BYTES: u64 = 1000;

    fn fit(context: u64, change: impl Fn(&mut Config)) -> Result<Pool, LoadError> {
        let mut config =
            Config { rows_max: 4, block_size: 16, kv_bytes_max: 1 << 30, ..Config::default() };
        change(&mut config);
        Pool::fit(allowed(context, &config), BLOCK_BYTES, config.kv_bytes_max, &config)
    }

    #[test]
    fn a_pool_is_no_larger_than_all_rows_can_use() {
        let pool = fit(100, |_| {}).unwrap();
        assert_eq!(pool, Pool { num_blocks: 4 * 7, bytes: 28_000, context: 100 });
    }

    #[test]
    fn a_pool_is_no_larger_than_its_bytes_and_a_sequence_fits_into_it() {
        let pool = fit(100, |config| config.kv_bytes_max = 3999).unwrap();
        assert_eq!(pool, Pool { num_blocks: 3, bytes: 3000, context: 48 });
    }

    #[test]
    fn the_configuration_shortens_the_context_and_never_lengthens_it() {
        assert_eq!(fit(100, |config| config.context_max = 20).unwrap().context, 20);
        assert_eq!(fit(100, |config| config.context_max = 200).unwrap().context, 100);
    }

    #[test]
    fn a_pool_without_a_block_is_refused_with_the_bytes_of_one() {
        let error = fit(100, |config| config.kv_bytes_max = 999).unwrap_err();
        assert_eq!(
            error.to_string(),
            "kv_bytes_max is 999, expected at least 1000, the bytes of one cache block"
        );
    }

    #[test]
    fn slots_fit_into_32_bits() {
        let pool = fit(1 << 30, |config| config.kv_bytes_max = u64::MAX).unwrap();
        assert_eq!(pool.num_blocks, u32::MAX / 16);
    }
}
