//! From the last layer to tokens.

use engine_backend::Backend;

use super::{LogitShares, Scratch};
use crate::ModelError;
use crate::loader::Loader;
use crate::place::Place;

/// The product that turns a position into logits.
pub(crate) enum Head<B: Backend> {
    Own(B::Matrix),
    /// The embedding serves.
    Tied,
}

impl<B: Backend> Head<B> {
    pub(crate) fn load(loader: &mut Loader<'_, B>) -> Result<Self, ModelError> {
        let spec = loader.blueprint.spec();
        Ok(match (loader.blueprint.ties_output(), spec.logits == spec.vocab) {
            (true, true) => Self::Tied,
            (true, false) => Self::Own(loader.tied_output()?),
            (false, _) => Self::Own(loader.matrix(&[Place::Output], 0)?),
        })
    }

    /// Draws a token for every sample of the step from `normed`.
    pub(crate) fn run(
        &self,
        backend: &mut B,
        step: &B::Step,
        embedding: &B::Matrix,
        scratch: &mut Scratch<B>,
    ) {
        let Scratch { normed, picked, logits, shares, .. } = scratch;
        let weight = match self {
            Self::Own(weight) => weight,
            Self::Tied => embedding,
        };
        backend.gather(normed, step, picked);
        match shares {
            None => backend.linear(picked, weight, None, logits),
            Some(LogitShares { own, parts }) => {
                backend.linear(picked, weight, None, own);
                backend.all_gather(own, parts, logits);
            }
        }
        backend.sample(logits, step);
    }
}
