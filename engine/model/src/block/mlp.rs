//! The feed-forward part of one layer.

use engine_backend::{Activation, Backend};

use super::mixture::MixtureWeights;
use super::{MlpScratch, Scratch};
use crate::ModelError;
use crate::loader::Loader;
use crate::place::Place;
use crate::spec::{DecoderSpec, Mlp};

/// The weights of an [`Mlp`].
pub(crate) enum MlpWeights<B: Backend> {
    Dense(Gated<B>),
    Mixture(MixtureWeights<B>),
}

/// The weights of a gated MLP.
pub(crate) struct Gated<B: Backend> {
    gate_up: B::Matrix,
    down: B::Matrix,
}

impl<B: Backend> MlpWeights<B> {
    pub(crate) fn load(loader: &mut Loader<'_, B>, layer: usize) -> Result<Self, ModelError> {
        Ok(match loader.blueprint.spec().layers[layer].mlp {
            Mlp::Dense => {
                Self::Dense(Gated::load(loader, [Place::Gate, Place::Up], Place::Down, layer)?)
            }
            Mlp::Mixture => Self::Mixture(MixtureWeights::load(loader, layer)?),
        })
    }

    /// `delta = mlp(normed)`.
    pub(crate) fn run(&self, backend: &mut B, spec: &DecoderSpec, scratch: &mut Scratch<B>) {
        const THERE: &str = "allocated, since a layer has it";
        let Scratch { normed, delta, dense, mixture, .. } = scratch;
        match self {
            Self::Dense(weights) => {
                let activation = spec.dense.expect(THERE).activation;
                let between = dense.as_mut().expect(THERE);
                weights.run(backend, activation, normed, between, delta);
            }
            Self::Mixture(weights) => {
                let between = mixture.as_mut().expect(THERE);
                weights.run(backend, spec.mixture.expect(THERE), normed, between, delta);
            }
        }
    }
}

impl<B: Backend> Gated<B> {
    pub(crate) fn load(
        loader: &mut Loader<'_, B>,
        gate_up: [Place; 2],
        down: Place,
        layer: usize,
    ) -> Result<Self, ModelError> {
        let gate_up = loader.matrix(&gate_up, layer)?;
        Ok(Self { gate_up, down: loader.matrix(&[down], layer)? })
    }

    /// `out = down(activation(gate(x)) * up(x))`.
    pub(crate) fn run(
        &self,
        backend: &mut B,
        activation: Activation,
        x: &B::Buffer,
        between: &mut MlpScratch<B>,
        out: &mut B::Buffer,
    ) {
        let MlpScratch { gate_up, gated } = between;
        backend.gated_linear(x, &self.gate_up, activation, gate_up, gated);
        backend.linear(gated, &self.down, None, out);
    }
}
