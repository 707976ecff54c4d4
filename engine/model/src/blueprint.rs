//! A checkpoint's model before any of its weights is read: checked as a whole.

use crate::architecture::Architecture;
use crate::place::Place;
use crate::placement::Placement;
use crate::spec::{DecoderSpec, Mixture};
use crate::{Checkpoint, ModelError};

/// A model that can be built: its spec, and every weight in its place. Nothing large was allocated
/// yet.
#[derive(Debug)]
pub struct Blueprint<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) placement: Placement<'a>,
    architecture: &'static Architecture,
    spec: DecoderSpec,
}

impl<'a> Blueprint<'a> {
    /// Reads what a checkpoint's model is.
    ///
    /// # Errors
    /// An unknown architecture, facts that are missing or out of range, tensors that are missing,
    /// left over, of the wrong shape or of a type that cannot be computed with.
    pub fn read(checkpoint: &'a Checkpoint) -> Result<Self, ModelError> {
        let architecture = Architecture::find(checkpoint.facts())?;
        let spec = architecture.read_spec(checkpoint.facts())?;
        let placement = Placement::resolve(checkpoint, architecture, &spec)?;
        Ok(Self { checkpoint, placement, architecture, spec })
    }

    /// The model's architecture.
    #[must_use]
    pub const fn architecture(&self) -> &'static Architecture {
        self.architecture
    }

    /// The model's sizes.
    #[must_use]
    pub const fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    /// Whether the embedding is also the output product.
    #[must_use]
    pub fn ties_output(&self) -> bool {
        self.placement.find(Place::Output, 0).is_empty()
    }

    /// Parameters that one position goes through: of its layers' experts only those that it
    /// chooses, and no embedding but where that is the output product.
    #[must_use]
    pub fn active_parameters(&self) -> u64 {
        let share =
            |place: Place, elements: u64| match (place.experts(&self.spec), self.spec.mixture) {
                (Some(experts), Some(Mixture { router, .. })) => {
                    elements / experts as u64 * router.chosen as u64
                }
                _ if place == Place::Embedding && !self.ties_output() => 0,
                _ => elements,
            };
        self.placement.elements().map(|(place, elements)| share(place, elements)).sum()
    }
}
