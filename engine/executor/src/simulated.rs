//! The engine that computes nothing: the vocabulary of a model, and the costs of a file.

use std::fs;
use std::path::Path;
use std::time::Instant;

use engine_sim::{CostModel, SimExecutor, Sizes};

use crate::{Config, LoadError, Loaded, ModelFile};

/// Builds it; of the model only the number of tokens is used.
pub(crate) fn build(
    begun: Instant,
    file: &ModelFile,
    config: &Config,
) -> Result<Loaded, LoadError> {
    let costs = match &config.costs {
        Some(path) => read(path)?,
        None => CostModel::cpu(),
    };
    let sizes = Sizes {
        vocab: u32::try_from(file.vocab()).unwrap_or(u32::MAX).max(1),
        context_max: config.context_max,
        block_size: config.block_size,
        kv_bytes_max: config.kv_bytes_max,
        rows_max: config.rows_max,
        step_tokens_max: config.step_tokens_max,
    };
    let device = format!("simulated: {}", costs.name);
    let executor = Box::new(SimExecutor::new(costs, sizes, config.sim_speed));
    let (weights, opening) = ("none".to_owned(), begun.elapsed());
    Ok(Loaded { executor, device, weights, no_gpu: None, opening })
}

/// Reads a file of costs.
///
/// # Errors
/// It cannot be read, or is no such file.
pub(crate) fn read(path: &Path) -> Result<CostModel, LoadError> {
    let wrong = |reason: String| LoadError::Costs { path: path.to_owned(), reason };
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    CostModel::parse(&text).map_err(|error| wrong(error.to_string()))
}
