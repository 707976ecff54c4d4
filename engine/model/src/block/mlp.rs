//! The feed-forward part of one layer.

use engine_backend::Backend;

use super::Scratch;
use crate::ModelError;
use crate::loader::Loader;
use crate::place::Place;
use crate::spec::Mlp;

/// The weights of an [`Mlp`].
pub(crate) struct MlpWeights<B: Backend> {
    gate_up: B::Matrix,
    down: B::Matrix,
}

impl<B: Backend> MlpWeights<B> {
    pub(crate) fn load(loader: &mut Loader<'_, B>, layer: usize) -> Result<Self, ModelError> {
        Ok(Self {
            gate_up: loader.matrix(&[Place::Gate, Place::Up], layer)?,
            down: loader.matrix(&[Place::Down], layer)?,
        })
    }

    /// `delta = mlp(normed)`.
    pub(crate) fn run(&self, backend: &mut B, spec: Mlp, scratch: &mut Scratch<B>) {
        let Mlp::Gated { activation, .. } = spec;
        let Scratch { normed, gate_up, gated, delta, .. } = scratch;
        backend.linear(normed, &self.gate_up, None, gate_up);
        backend.gated(gate_up, activation, gated);
        backend.linear(gated, &self.down, None, delta);
    }
}
