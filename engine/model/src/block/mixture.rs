//! The experts of one layer.

use engine_backend::Backend;

use super::mlp::Gated;
use super::scratch::SharedScratch;
use super::{MixtureScratch, MlpScratch};
use crate::ModelError;
use crate::loader::Loader;
use crate::place::Place;
use crate::spec::Mixture;

/// The weights of a [`Mixture`].
pub(crate) struct MixtureWeights<B: Backend> {
    router: B::Matrix,
    gate_up: B::Experts,
    down: B::Experts,
    shared: Option<Shared<B>>,
}

/// The weights of an expert that every position goes through.
struct Shared<B: Backend> {
    mlp: Gated<B>,
    gate: B::Matrix,
}

impl<B: Backend> MixtureWeights<B> {
    pub(crate) fn load(loader: &mut Loader<'_, B>, layer: usize) -> Result<Self, ModelError> {
        let shared = loader.blueprint.spec().mixture.and_then(|mixture| mixture.shared);
        Ok(Self {
            router: loader.matrix(&[Place::Router], layer)?,
            gate_up: loader.experts(&[Place::ExpertGate, Place::ExpertUp], layer)?,
            down: loader.experts(&[Place::ExpertDown], layer)?,
            shared: shared.map(|_| Shared::load(loader, layer)).transpose()?,
        })
    }

    /// `out = sum of weight * expert(x)` over the experts that each position chose, plus what the
    /// shared one gives.
    pub(crate) fn run(
        &self,
        backend: &mut B,
        spec: Mixture,
        x: &B::Buffer,
        between: &mut MixtureScratch<B>,
        out: &mut B::Buffer,
    ) {
        let MixtureScratch { scores, routes, experts, outputs, shared } = between;
        let MlpScratch { gate_up, gated } = experts;
        backend.route_linear(x, &self.router, scores, spec.router, routes);
        let activation = spec.expert.activation;
        backend.expert_gated(x, &self.gate_up, routes, activation, gate_up, gated);
        backend.expert_sum(gated, &self.down, routes, outputs, out);
        if let (Some(weights), Some(between)) = (&self.shared, shared) {
            weights.add(backend, spec, x, between, out);
        }
    }
}

impl<B: Backend> Shared<B> {
    fn load(loader: &mut Loader<'_, B>, layer: usize) -> Result<Self, ModelError> {
        let gate_up = [Place::SharedGate, Place::SharedUp];
        let mlp = Gated::load(loader, gate_up, Place::SharedDown, layer)?;
        Ok(Self { mlp, gate: loader.matrix(&[Place::SharedRouter], layer)? })
    }

    /// `out += sigmoid(gate(x)) * expert(x)`.
    fn add(
        &self,
        backend: &mut B,
        spec: Mixture,
        x: &B::Buffer,
        between: &mut SharedScratch<B>,
        out: &mut B::Buffer,
    ) {
        let activation = spec.expert.activation;
        self.mlp.run(backend, activation, x, &mut between.mlp, &mut between.output);
        backend.linear(x, &self.gate, None, &mut between.gate);
        backend.add_gated(&between.output, &between.gate, out);
    }
}
