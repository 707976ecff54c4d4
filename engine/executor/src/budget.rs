//! Whether a model fits the memory of a device, and what that leaves for the cache: worked out
//! before anything is loaded, so that the answer comes at once.

use std::fmt;

use engine_backend::{Backend, DType, DeviceMemory};
use engine_model::{Blueprint, Decoder};

use crate::{Config, LoadError, WeightType};

/// What a device has, and what a model takes of it besides its cache. All are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) memory: DeviceMemory,
    /// Weights as the device keeps them.
    pub(crate) weights: u64,
    /// What steps compute in.
    pub(crate) workspace: u64,
}

/// Types that a model could have instead, the better ones first.
const SMALLER: [(DType, &str); 3] =
    [(DType::Q8_0, "Q8_0"), (DType::Q6K, "Q6_K"), (DType::Q4K, "Q4_K")];

/// The parts of a device's memory that are left to the driver, to graphs of steps and to others: by
/// choice, and at the very least.
const SPARE: u64 = 10;
const SPARE_LEAST: u64 = 50;

impl Budget {
    /// The budget of a model whose sequences have at most `context` positions; `None` where memory
    /// is the machine's own.
    ///
    /// # Errors
    /// The device's, and that the model does not fit.
    pub(crate) fn plan<B: Backend>(
        backend: &B,
        blueprint: &Blueprint<'_>,
        config: &Config,
        context: u64,
    ) -> Result<Option<Self>, LoadError> {
        let Some(memory) = backend.memory()? else { return Ok(None) };
        let spec = blueprint.spec();
        let (rows, tokens) = (config.rows_max as usize, config.step_tokens_max as usize);
        let blocks = rows.saturating_mul(context.div_ceil(config.block_size.into()) as usize);
        let shape = spec.cache_shape(1, config.block_size as usize, config.kv_type.dtype());
        let workspace = Decoder::<B>::workspace_bytes(blueprint, rows, tokens)
            .saturating_add(B::step_bytes(rows, tokens, blocks, spec.vocab, shape) as u64);
        let budget = Self { memory, weights: blueprint.weight_bytes(backend, None), workspace };
        if budget.most() == 0 {
            let smaller = SMALLER.map(|(dtype, name)| {
                (named(name, config.weight_type), blueprint.weight_bytes(backend, Some(dtype)))
            });
            return Err(budget.too_large(&smaller));
        }
        Ok(Some(budget))
    }

    /// What the cache may take where the configuration does not say it: all but a tenth of the
    /// memory; if that is less than a sequence takes, then `sequence`, as long as there is room.
    pub(crate) fn rest(&self, sequence: u64) -> u64 {
        self.left(SPARE).max(self.most().min(sequence))
    }

    /// What the cache can take at most.
    pub(crate) fn most(&self) -> u64 {
        self.left(SPARE_LEAST)
    }

    fn left(&self, spare: u64) -> u64 {
        let DeviceMemory { total, free, .. } = self.memory;
        let taken = self.weights.saturating_add(self.workspace);
        free.saturating_sub(total / spare).saturating_sub(taken)
    }

    /// Refuses a cache that is too large.
    ///
    /// # Errors
    /// It is.
    pub(crate) fn check(
        &self,
        cache: u64,
        block_bytes: u64,
        block_size: u32,
    ) -> Result<(), LoadError> {
        let most = self.most() / block_bytes * block_bytes;
        if cache <= most {
            return Ok(());
        }
        let positions = most / block_bytes * u64::from(block_size);
        Err(LoadError::CacheTooLarge { cache, most, positions, budget: self.to_string() })
    }

    /// Says what would fit, given what the weights would take in other types.
    fn too_large(&self, smaller: &[(&'static str, u64)]) -> LoadError {
        let fits = |&&(_, weights): &&(&str, u64)| Self { weights, ..self.clone() }.most() > 0;
        let advice = match (smaller.iter().find(fits), smaller.last()) {
            (Some((name, weights)), _) => {
                format!("with weights of type {name} they would take about {}", Bytes(*weights))
            }
            (None, Some((name, weights))) => {
                format!("even weights of type {name} would take about {}", Bytes(*weights))
            }
            (None, None) => "choose a smaller model".to_owned(),
        };
        LoadError::TooLarge { budget: self.to_string(), advice }
    }
}

/// A type, and the setting that saves as much.
fn named(name: &'static str, weight_type: WeightType) -> &'static str {
    match (name, weight_type) {
        ("Q8_0", WeightType::Auto) => "Q8_0, or with weight_type = \"fp8\",",
        (name, WeightType::Auto | WeightType::Fp8) => name,
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory: DeviceMemory { device, total, free }, weights, workspace } = self;
        write!(
            f,
            "the weights take {} and steps {}, and of {} on {device} {} are free",
            Bytes(*weights),
            Bytes(*workspace),
            Bytes(*total),
            Bytes(*free)
        )
    }
}

/// For a person to read.
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 as f64 {
            bytes if bytes < 1e6 => write!(f, "{:.1} kB", bytes / 1e3),
            bytes if bytes < 1e9 => write!(f, "{:.1} MB", bytes / 1e6),
            bytes => write!(f, "{:.1} GB", bytes / 1e9),
        }
    }
}

#[cfg(test)]
mod tests;
