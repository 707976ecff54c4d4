//! An executor over any backend.

use engine_backend::{Backend, Rank};
use engine_contract::{EngineError, EngineInfo, Executor, StepPlan, Ticket};
use engine_model::{Blueprint, Decoder};

use crate::kv::Pool;
use crate::stage::Stage;
use crate::ticket::{Awaited, StepTicket};
use crate::{Config, LoadError, ModelFile};

/// Runs a model's steps on a backend. Everything that a step needs is allocated when it is built.
pub struct BackendExecutor<B: Backend> {
    backend: B,
    decoder: Decoder<B>,
    caches: Vec<B::Cache>,
    step: B::Step,
    stage: Stage,
    info: EngineInfo,
}

impl<B: Backend> BackendExecutor<B> {
    /// Brings a file's model to a backend.
    ///
    /// # Errors
    /// The model cannot run, a setting is out of range, or the backend has no room.
    pub fn new(mut backend: B, file: &ModelFile, config: &Config) -> Result<Self, LoadError> {
        config.validate()?;
        let blueprint = share(file.blueprint()?, backend.rank())?;
        let info = info(&backend, &blueprint, config)?;
        let (rows_max, tokens_max) = (info.rows_max as usize, info.step_tokens_max as usize);
        let decoder = Decoder::load(&mut backend, &blueprint, rows_max, tokens_max)?;
        let (num_blocks, block_size) = (info.num_blocks as usize, info.block_size as usize);
        let shape = decoder.spec().cache_shape(num_blocks, block_size, config.kv_type.dtype());
        let caches = (0..decoder.spec().layers.len())
            .map(|_| backend.cache(shape))
            .collect::<Result<Vec<_>, _>>()?;
        let blocks_max = rows_max * info.context.div_ceil(info.block_size) as usize;
        let step = backend.step(rows_max, tokens_max, blocks_max, info.vocab as usize)?;
        Ok(Self { backend, decoder, caches, step, stage: Stage::new(info), info })
    }

    /// Bytes that the cache of a backend's rank would take.
    ///
    /// # Errors
    /// As those of [`Self::new`].
    pub(crate) fn kv_bytes(
        backend: &B,
        file: &ModelFile,
        config: &Config,
    ) -> Result<u64, LoadError> {
        let blueprint = share(file.blueprint()?, backend.rank())?;
        Ok(Pool::plan(backend, &blueprint, config)?.bytes)
    }

    /// What steps run on.
    #[must_use]
    pub const fn backend(&self) -> &B {
        &self.backend
    }

    /// The logits that the last step drew from, one row for each of its samples: for measuring how
    /// far a backend is from another.
    #[must_use]
    pub const fn logits(&self) -> &B::Buffer {
        self.decoder.logits()
    }
}

impl<B: Backend> Executor for BackendExecutor<B> {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn launch(&mut self, plan: StepPlan) -> Result<Box<dyn Ticket>, EngineError> {
        let Self { backend, decoder, caches, step, stage, .. } = self;
        backend.stage(stage.fill(&plan), step);
        backend.run(step, |backend| decoder.run(backend, step, caches));
        let event = backend.record(step);
        let draws = plan.rows.iter().filter_map(|row| {
            let logprobs = row.sample.as_ref()?.logprobs.is_some();
            Some(Awaited { sequence: row.sequence, logprobs })
        });
        Ok(Box::new(StepTicket { step: plan.step, awaited: draws.collect(), event }))
    }
}

/// What a rank computes of a model.
fn share(blueprint: Blueprint<'_>, rank: Rank) -> Result<Blueprint<'_>, LoadError> {
    blueprint.for_rank(rank).map_err(|reason| LoadError::Share { of: rank.of(), reason })
}

fn info<B: Backend>(
    backend: &B,
    blueprint: &Blueprint<'_>,
    config: &Config,
) -> Result<EngineInfo, LoadError> {
    let spec = blueprint.spec();
    let pool = Pool::plan(backend, blueprint, config)?;
    Ok(EngineInfo {
        vocab: u32::try_from(spec.vocab).expect("read as a u32"),
        context: pool.context,
        block_size: config.block_size,
        num_blocks: pool.num_blocks,
        rows_max: config.rows_max,
        step_tokens_max: config.step_tokens_max,
        weight_bytes: blueprint.weight_bytes(backend, None),
        kv_bytes: pool.bytes,
        // What hangs holds all of a device that has memory of its own.
        can_be_abandoned: backend.memory()?.is_none(),
    })
}
