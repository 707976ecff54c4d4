//! The activations of a step.

use engine_backend::{Backend, Rank};

use crate::ModelError;
use crate::spec::{DecoderSpec, GatedMlp, Mixture};

/// The activations of a step, allocated once for the largest.
///
/// Every position has a row, but in `picked` and `logits`, where every drawn token has one.
pub(crate) struct Scratch<B: Backend> {
    pub(crate) residual: B::Buffer,
    pub(crate) normed: B::Buffer,
    pub(crate) qkv: B::Buffer,
    pub(crate) attended: B::Buffer,
    /// What attention or MLP gives; of several ranks, what one gives, then what all do.
    pub(crate) delta: B::Buffer,
    /// The same, normed, where the model does that.
    pub(crate) delta_normed: Option<B::Buffer>,
    /// What each rank gives, if there are several.
    pub(crate) parts: Option<B::Buffer>,
    pub(crate) dense: Option<MlpScratch<B>>,
    pub(crate) mixture: Option<MixtureScratch<B>>,
    pub(crate) picked: B::Buffer,
    pub(crate) logits: B::Buffer,
    pub(crate) shares: Option<LogitShares<B>>,
}

/// Logits before ranks have them all.
pub(crate) struct LogitShares<B: Backend> {
    /// The rank's own.
    pub(crate) own: B::Buffer,
    /// What each rank has.
    pub(crate) parts: B::Buffer,
}

/// Between the products of a gated MLP.
pub(crate) struct MlpScratch<B: Backend> {
    pub(crate) gate_up: B::Buffer,
    pub(crate) gated: B::Buffer,
}

/// Between the products of experts: a row for every choice, but in `scores` and `shared`.
pub(crate) struct MixtureScratch<B: Backend> {
    pub(crate) scores: B::Buffer,
    pub(crate) routes: B::Routes,
    pub(crate) experts: MlpScratch<B>,
    pub(crate) outputs: B::Buffer,
    pub(crate) shared: Option<SharedScratch<B>>,
}

/// Between the products of the shared expert.
pub(crate) struct SharedScratch<B: Backend> {
    pub(crate) mlp: MlpScratch<B>,
    pub(crate) output: B::Buffer,
    pub(crate) gate: B::Buffer,
}

impl<B: Backend> Scratch<B> {
    pub(crate) fn allocate(
        backend: &mut B,
        spec: &DecoderSpec,
        rows_max: usize,
        tokens_max: usize,
    ) -> Result<Self, ModelError> {
        let heads = spec.attention.heads;
        let width = spec.width;
        let ranks = backend.rank();
        let several = !ranks.is_alone();
        let parts = several.then(|| backend.buffer(ranks.of() * tokens_max, width)).transpose()?;
        let shares = LogitShares::allocate(backend, spec, rows_max)?;
        let after = spec.norms.after.then(|| backend.buffer(tokens_max, width)).transpose()?;
        let dense = spec.dense.map(|mlp| MlpScratch::allocate(backend, tokens_max, mlp.width));
        let mixture = spec
            .mixture
            .map(|mixture| MixtureScratch::allocate(backend, tokens_max, width, mixture));
        Ok(Self {
            residual: backend.buffer(tokens_max, width)?,
            normed: backend.buffer(tokens_max, width)?,
            qkv: backend.buffer(tokens_max, heads.qkv_width())?,
            attended: backend.buffer(tokens_max, heads.out_width())?,
            delta: backend.buffer(tokens_max, width)?,
            delta_normed: after,
            parts,
            dense: dense.transpose()?,
            mixture: mixture.transpose()?,
            picked: backend.buffer(rows_max, width)?,
            logits: backend.buffer(rows_max, spec.vocab)?,
            shares,
        })
    }
}

impl<B: Backend> Scratch<B> {
    /// Elements of all buffers.
    pub(crate) fn elements(
        spec: &DecoderSpec,
        rank: Rank,
        rows_max: usize,
        tokens_max: usize,
    ) -> u64 {
        let heads = spec.attention.heads;
        let mlp = |mlp: GatedMlp| 3 * mlp.width;
        let deltas = if spec.norms.after { 4 } else { 3 };
        let mixture = spec.mixture.map_or(0, |Mixture { router, expert, shared }| {
            let shared = shared.map_or(0, |shared| mlp(shared) + spec.width + 1);
            router.experts + router.chosen * (mlp(expert) + spec.width) + shared
        });
        let token = deltas * spec.width
            + heads.qkv_width()
            + heads.out_width()
            + spec.dense.map_or(0, mlp)
            + mixture;
        let parts = if rank.is_alone() { 0 } else { rank.of() * spec.width };
        let shares = if spec.logits < spec.vocab { (1 + rank.of()) * spec.logits } else { 0 };
        let row = spec.width + spec.vocab + shares;
        let all = |number: usize, each: usize| (number as u64).saturating_mul(each as u64);
        all(tokens_max, token + parts).saturating_add(all(rows_max, row))
    }
}

impl<B: Backend> LogitShares<B> {
    /// None where each rank has all of the output product.
    fn allocate(
        backend: &mut B,
        spec: &DecoderSpec,
        rows: usize,
    ) -> Result<Option<Self>, ModelError> {
        if spec.logits == spec.vocab {
            return Ok(None);
        }
        let own = backend.buffer(rows, spec.logits)?;
        let parts = backend.buffer(backend.rank().of() * rows, spec.logits)?;
        Ok(Some(Self { own, parts }))
    }
}

impl<B: Backend> MlpScratch<B> {
    fn allocate(backend: &mut B, rows: usize, width: usize) -> Result<Self, ModelError> {
        let gate_up = backend.buffer(rows, 2 * width)?;
        Ok(Self { gate_up, gated: backend.buffer(rows, width)? })
    }
}

impl<B: Backend> MixtureScratch<B> {
    fn allocate(
        backend: &mut B,
        rows: usize,
        width: usize,
        Mixture { router, expert, shared }: Mixture,
    ) -> Result<Self, ModelError> {
        let choices = rows * router.chosen;
        let shared = shared.map(|shared| SharedScratch::allocate(backend, rows, width, shared));
        Ok(Self {
            scores: backend.buffer(rows, router.experts)?,
            routes: backend.routes(rows, router)?,
            experts: MlpScratch::allocate(backend, choices, expert.width)?,
            outputs: backend.buffer(choices, width)?,
            shared: shared.transpose()?,
        })
    }
}

impl<B: Backend> SharedScratch<B> {
    fn allocate(
        backend: &mut B,
        rows: usize,
        width: usize,
        shared: GatedMlp,
    ) -> Result<Self, ModelError> {
        let mlp = MlpScratch::allocate(backend, rows, shared.width)?;
        let output = backend.buffer(rows, width)?;
        Ok(Self { mlp, output, gate: backend.buffer(rows, 1)? })
    }
}
