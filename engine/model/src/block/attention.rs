//! The attention of one layer.

use engine_backend::{AttentionShape, Backend, Rope};

use super::Scratch;
use crate::ModelError;
use crate::loader::Loader;
use crate::place::Place;
use crate::spec::{AttentionSpec, Bias, QkNorm};

/// Fused projections, norms of their heads where the model has them, rotation, attention over the
/// cache, and the projection back.
pub(crate) struct Attention<B: Backend> {
    qkv: B::Matrix,
    bias: Option<B::Vector>,
    norms: Option<HeadNorms<B>>,
    output: B::Matrix,
}

struct HeadNorms<B: Backend> {
    query: B::Vector,
    key: B::Vector,
}

impl<B: Backend> Attention<B> {
    pub(crate) fn load(loader: &mut Loader<'_, B>, layer: usize) -> Result<Self, ModelError> {
        let AttentionSpec { bias, qk_norm, .. } = loader.blueprint.spec().attention;
        let biases = [Place::QueryBias, Place::KeyBias, Place::ValueBias];
        Ok(Self {
            qkv: loader.matrix(&[Place::Query, Place::Key, Place::Value], layer)?,
            bias: match bias {
                Bias::Absent => None,
                Bias::QueriesKeysValues => Some(loader.vector(&biases, layer)?),
            },
            norms: match qk_norm {
                QkNorm::Absent => None,
                QkNorm::EachHead => Some(HeadNorms {
                    query: loader.norm(Place::QueryNorm, layer)?,
                    key: loader.norm(Place::KeyNorm, layer)?,
                }),
            },
            output: loader.matrix(&[Place::AttentionOutput], layer)?,
        })
    }

    /// `delta = attention(normed)`; `epsilon` is that of the model's norms.
    pub(crate) fn run(
        &self,
        backend: &mut B,
        step: &B::Step,
        shape: AttentionShape,
        (rope, epsilon): (&Rope, f32),
        cache: &mut B::Cache,
        scratch: &mut Scratch<B>,
    ) {
        let Scratch { normed, qkv, attended, delta, .. } = scratch;
        backend.linear(normed, &self.qkv, self.bias.as_ref(), qkv);
        if let Some(HeadNorms { query, key }) = &self.norms {
            backend.head_rms_norm(qkv, shape.heads, query, key, epsilon);
        }
        backend.rope_and_store(qkv, step, shape.heads, rope, cache);
        backend.attend(qkv, step, shape, cache, attended);
        backend.linear(attended, &self.output, None, delta);
    }
}
