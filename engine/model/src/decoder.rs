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
    rope: Rope,
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
}

impl<B: Backend> Decoder<B> {
    /// Brings the weights to the backend, and allocates what steps of at most `rows_max` rows and
    /// `tokens_max` positions need.
    ///
    /// # Errors
    /// The file cannot be read, or the backend has no room.
    pub fn load(
        backend: &mut B,
        blueprint: &Blueprint<'_>,
        rows_max: usize,
        tokens_max: usize,
    ) -> Result<Self, ModelError> {
        let spec = blueprint.spec().clone();
        let mut loader = Loader { backend, blueprint };
        let rope = loader.rope()?;
        let embedding = loader.matrix(&[Place::Embedding], 0)?;
        let layers = (0..spec.layers)
            .map(|layer| Layer::load(&mut loader, layer))
            .collect::<Result<Vec<_>, _>>()?;
        let output_norm = loader.vector(Place::OutputNorm, 0)?;
        let head = Head::load(&mut loader)?;
        let scratch = Scratch::allocate(backend, &spec, rows_max, tokens_max)?;
        Ok(Self { spec, rope, embedding, layers, output_norm, head, scratch })
    }

    /// Enqueues one staged step: keys and values of its positions go to `caches`, a token is drawn
    /// for each of its samples.
    ///
    /// # Panics
    /// If there are not as many caches as layers.
    pub fn run(&mut self, backend: &mut B, step: &B::Step, caches: &mut [B::Cache]) {
        assert_eq!(caches.len(), self.layers.len(), "one cache for each layer");
        let DecoderSpec { norm_epsilon: epsilon, mlp, .. } = self.spec;
        let scratch = &mut self.scratch;
        backend.embed(&self.embedding, step, &mut scratch.residual);
        let first = &self.layers[0].attention_norm;
        backend.rms_norm(&scratch.residual, first, epsilon, &mut scratch.normed);
        for (index, (layer, cache)) in self.layers.iter().zip(caches).enumerate() {
            let Layer { attention, mlp_norm, mlp: weights, .. } = layer;
            let turn = (&self.rope, epsilon);
            attention.run(backend, step, &self.spec.attention, turn, cache, scratch);
            add_norm(backend, mlp_norm, epsilon, scratch);
            weights.run(backend, mlp, scratch);
            let next = self.layers.get(index + 1);
            let norm = next.map_or(&self.output_norm, |next| &next.attention_norm);
            add_norm(backend, norm, epsilon, scratch);
        }
        self.head.run(backend, step, &self.embedding, scratch);
    }

    /// The model's sizes.
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
        Ok(Self {
            attention_norm: loader.vector(Place::AttentionNorm, layer)?,
            attention: Attention::load(loader, layer)?,
            mlp_norm: loader.vector(Place::MlpNorm, layer)?,
            mlp: MlpWeights::load(loader, layer)?,
        })
    }
}

/// `residual += delta`, and its norm is what the next block reads.
fn add_norm<B: Backend>(backend: &mut B, norm: &B::Vector, epsilon: f32, scratch: &mut Scratch<B>) {
    let Scratch { residual, normed, delta, .. } = scratch;
    backend.add_rms_norm(delta, residual, norm, epsilon, normed);
}
