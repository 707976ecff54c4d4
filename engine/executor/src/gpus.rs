//! Which GPUs an engine runs on, and how they come to know each other.

use std::time::Instant;

use engine_backend::Rank;
use engine_cuda::{CudaBackend, Format, OpenError, PeersId, WeightType};

use crate::{BackendExecutor, Config, LoadError, Loaded, ModelFile, RankedExecutor, Ranks};

/// GPUs of this machine, one for each rank, in the driver's order.
#[derive(Clone, Copy)]
struct Gpus {
    id: PeersId,
    weights: WeightType,
}

impl Ranks for Gpus {
    type Backend = CudaBackend;

    fn open(&self, rank: Rank) -> Result<CudaBackend, LoadError> {
        Ok(CudaBackend::on(rank.index())?.with_weights(self.weights).with_rank(rank))
    }

    fn join(&self, backend: CudaBackend, _: Rank) -> Result<CudaBackend, LoadError> {
        Ok(backend.join(self.id)?)
    }
}

/// How many GPUs are asked for, of those that there are.
pub(crate) fn number(config: &Config) -> Result<usize, LoadError> {
    wanted(config.gpus as usize, engine_cuda::count)
}

fn wanted(
    gpus: usize,
    count: impl FnOnce() -> Result<usize, OpenError>,
) -> Result<usize, LoadError> {
    if gpus == 1 {
        return Ok(1);
    }
    let there = count()?;
    match gpus {
        0 => Ok(there),
        gpus if gpus <= there => Ok(gpus),
        gpus => Err(LoadError::Gpus { found: gpus, there }),
    }
}

/// An engine on one GPU.
pub(crate) fn on_one(
    backend: CudaBackend,
    begun: Instant,
    file: &ModelFile,
    config: &Config,
) -> Result<Loaded, LoadError> {
    let (device, opening) = (backend.info().to_string(), begun.elapsed());
    let backend = backend.with_weights(config.weight_type);
    let executor = Box::new(BackendExecutor::new(backend, file, config)?);
    let weights = kept(executor.backend(), config.weight_type);
    Ok(Loaded { executor, device, weights, no_gpu: None, opening })
}

/// An engine on several GPUs.
pub(crate) fn on_several(
    of: usize,
    begun: Instant,
    file: &ModelFile,
    config: &Config,
) -> Result<Loaded, LoadError> {
    let gpus = Gpus { id: PeersId::new()?, weights: config.weight_type };
    // The GPUs themselves are opened on the ranks' threads.
    let opening = begun.elapsed();
    let executor = RankedExecutor::new(&gpus, of, file, config)?;
    let device = format!("{of} GPUs, the first of them {}", executor.first().info());
    let weights = format!("{} on each", kept(executor.first(), config.weight_type));
    Ok(Loaded { executor: Box::new(executor), device, weights, no_gpu: None, opening })
}

/// What a GPU keeps weights in.
fn kept(backend: &CudaBackend, asked: WeightType) -> String {
    let part = |(format, bytes)| format!("{format} {:.2} GB", bytes as f64 / 1e9);
    let words = backend.weights().map(part).collect::<Vec<_>>().join(", ");
    let rounded = backend.weights().any(|(format, _)| format == Format::Fp8);
    if asked == WeightType::Fp8 && !rounded {
        return format!("{words}; none in fp8, since quantised weights stay as they are");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(gpus: usize, there: Result<usize, OpenError>) -> Result<usize, String> {
        wanted(gpus, || there).map_err(|error| error.to_string())
    }

    #[test]
    fn as_many_gpus_as_asked_for_or_all() {
        assert_eq!(said(1, Err(OpenError::NoDriver)), Ok(1));
        assert_eq!(said(0, Ok(4)), Ok(4));
        assert_eq!(said(4, Ok(4)), Ok(4));
        assert_eq!(said(2, Ok(4)), Ok(2));
    }

    #[test]
    fn more_gpus_than_there_are_is_an_error_that_names_both() {
        let error = said(4, Ok(2)).unwrap_err();
        assert_eq!(error, "gpus is 4, expected at most 2, which this machine has, or 0 for all");
        let error = said(2, Err(OpenError::NoDevice)).unwrap_err();
        assert!(error.contains("no NVIDIA GPU was found"), "{error}");
    }
}
