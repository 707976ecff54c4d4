//! The attention of one layer.

use engine_backend::{Backend, Rope};

use super::Scratch;
use crate::ModelError;
use crate::loader::Loader;
use crate::place::Place;
use crate::spec::AttentionSpec;

/// Fused projections, rotation, attention over the cache, and the projection back.
pub(crate) struct Attention<B: Backend> {
    qkv: B::Matrix,
    output: B::Matrix,
}

impl<B: Backend> Attention<B> {
    pub(crate) fn load(loader: &mut Loader<'_, B>, layer: usize) -> Result<Self, ModelError> {
        Ok(Self {
            qkv: loader.matrix(&[Place::Query, Place::Key, Place::Value], layer)?,
            output: loader.matrix(&[Place::AttentionOutput], layer)?,
        })
    }

    /// `delta = attention(normed)`.
    pub(crate) fn run(
        &self,
        backend: &mut B,
        step: &B::Step,
        spec: &AttentionSpec,
        rope: &Rope,
        cache: &mut B::Cache,
        scratch: &mut Scratch<B>,
    ) {
        let Scratch { normed, qkv, attended, delta, .. } = scratch;
        backend.linear(normed, &self.qkv, None, qkv);
        backend.rope_and_store(qkv, step, spec.heads, rope, cache);
        backend.attend(qkv, step, spec.heads, spec.scale, cache, attended);
        backend.linear(attended, &self.output, None, delta);
    }
}
