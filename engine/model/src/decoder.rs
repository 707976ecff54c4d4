//! The one decoder: runs any [`DecoderSpec`] on any backend.

use engine_backend::{Backend, Rope};

use crate::block::{Attention, Head, MlpWeights, Scratch};
use crate::loader::Loader;
use crate::place::Place;
use crate::spec::DecoderSpec;
use crate::{Blueprint, ModelError};

/// A model's weights on a backend, and the activations of one step.
///
/// The cache is not in here: whoever runs steps owns it, one [`Backend::Cache`] for each layer.
pub struct Decoder<B: Backend> {
    spec: DecoderSpec,
    ropes: Vec<Rope>,
    embedding: B::Matrix,
    layers: Vec<Layer<B>>,
    output_norm: B::Vector,
    head: Head<B>,
    scratch: Scratch<B>,
}

struct Layer<B: Backend> {
    attention_norm: B::Vector,
    attention: Attention<B>,
    mlp_norm: B::Vector,
    mlp: MlpWeights<B>,
    after: Option<AfterNorms<B>>,
}

/// Norms of what attention and MLP give.
struct AfterNorms<B: Backend> {
    attention: B::Vector,
    mlp: B::Vector,
}

impl<B: Backend> Decoder<B> {
    /// Brings the weights to the backend, and allocates what steps of at most `rows_max` rows and
    /// `tokens_max` positions need.
    ///
    /// # Errors
    /// The file cannot be read, or the backend has no room.
    ///
    /// # Panics
    /// If the blueprint is not that of the backend's rank.
    pub fn load(
        backend: &mut B,
        blueprint: &Blueprint<'_>,
        rows_max: usize,
        tokens_max: usize,
    ) -> Result<Self, ModelError> {
        assert_eq!(blueprint.rank, backend.rank(), "the model is cut for its rank");
        let spec = blueprint.spec().clone();
        let mut loader = Loader { backend, blueprint };
        let ropes = loader.ropes()?;
        let embedding = loader.matrix(&[Place::Embedding], 0)?;
        let layers = (0..spec.layers.len())
            .map(|layer| Layer::load(&mut loader, layer))
            .collect::<Result<Vec<_>, _>>()?;
        let output_norm = loader.norm(Place::OutputNorm, 0)?;
        let head = Head::load(&mut loader)?;
        let scratch = Scratch::allocate(backend, &spec, rows_max, tokens_max)?;
        Ok(Self { spec, ropes, embedding, layers, output_norm, head, scratch })
    }

    /// Bytes of the activations that [`Self::load`] allocates, as floats.
    #[must_use]
    pub fn workspace_bytes(blueprint: &Blueprint<'_>, rows_max: usize, tokens_max: usize) -> u64 {
        Scratch::<B>::elements(blueprint.spec(), blueprint.rank, rows_max, tokens_max)
            .saturating_mul(size_of::<f32>() as u64)
    }

    /// Enqueues one staged step: keys and values of its positions go to `caches`, a token is drawn
    /// for each of its samples.
    ///
    /// # Panics
    /// If there are not as many caches as layers.
    pub fn run(&mut self, backend: &mut B, step: &B::Step, caches: &mut [B::Cache]) {
        assert_eq!(caches.len(), self.layers.len(), "one cache for each layer");
        let Self { spec, ropes, layers, scratch, .. } = self;
        let epsilon = spec.norms.epsilon;
        backend.embed(&self.embedding, step, spec.embedding_scale, &mut scratch.residual);
        let first = &layers[0].attention_norm;
        backend.rms_norm(&scratch.residual, first, epsilon, &mut scratch.normed);
        for (index, (layer, cache)) in layers.iter().zip(caches).enumerate() {
            let at = &spec.layers[index];
            let (shape, turn) = (spec.attention_shape(at), (&ropes[at.rope], epsilon));
            layer.attention.run(backend, step, shape, turn, cache, scratch);
            let after = layer.after.as_ref();
            let norms = (after.map(|after| &after.attention), &layer.mlp_norm);
            add_norm(backend, norms, epsilon, scratch);
            layer.mlp.run(backend, spec, scratch);
            let next = layers.get(index + 1);
            let norm = next.map_or(&self.output_norm, |next| &next.attention_norm);
            add_norm(backend, (after.map(|after| &after.mlp), norm), epsilon, scratch);
        }
        self.head.run(backend, step, &self.embedding, scratch);
    }

    /// The model's sizes, those of the backend's rank.
    #[must_use]
    pub const fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    /// The logits that the last step drew from, one row for each of its samples.
    #[must_use]
    pub const fn logits(&self) -> &B::Buffer {
        &self.scratch.logits
    }
}

impl<B: Backend> Layer<B> {
    fn load(loader: &mut Loader<'_, B>, layer: usize) -> Result<Self, ModelError> {
        let after = loader.blueprint.spec().norms.after;
        Ok(Self {
            attention_norm: loader.norm(Place::AttentionNorm, layer)?,
            attention: Attention::load(loader, layer)?,
            mlp_norm: loader.norm(Place::MlpNorm, layer)?,
            mlp: MlpWeights::load(loader, layer)?,
            after: after.then(|| AfterNorms::load(loader, layer)).transpose()?,
        })
    }
}

impl<B: Backend> AfterNorms<B> {
    fn load(loader: &mut Loader<'_, B>, layer: usize) -> Result<Self, ModelError> {
        let attention = loader.norm(Place::AttentionAfterNorm, layer)?;
        Ok(Self { attention, mlp: loader.norm(Place::MlpAfterNorm, layer)? })
    }
}

/// `residual += delta`, summed over ranks and normed before where the model does that, and its norm
/// is what the next block reads.
fn add_norm<B: Backend>(
    backend: &mut B,
    (after, norm): (Option<&B::Vector>, &B::Vector),
    epsilon: f32,
    scratch: &mut Scratch<B>,
) {
    let Scratch { residual, normed, delta, delta_normed, parts, .. } = scratch;
    if let Some(parts) = parts {
        backend.all_reduce(delta, parts);
    }
    let delta = match (after, delta_normed) {
        (Some(after), Some(delta_normed)) => {
            backend.rms_norm(delta, after, epsilon, delta_normed);
            delta_normed
        }
        _ => delta,
    };
    backend.add_rms_norm(delta, residual, norm, epsilon, normed);
}
