//! A file's model before any of its weights is read: checked as a whole.

use crate::architecture::Architecture;
use crate::place::{Place, Placement};
use crate::spec::DecoderSpec;
use crate::{Gguf, ModelError};

/// A model that can be built: its spec, and every weight in its place. Nothing large was allocated
/// yet.
#[derive(Debug)]
pub struct Blueprint<'a> {
    pub(crate) gguf: &'a Gguf,
    pub(crate) placement: Placement<'a>,
    architecture: &'static Architecture,
    spec: DecoderSpec,
}

impl<'a> Blueprint<'a> {
    /// Reads what a file's model is.
    ///
    /// # Errors
    /// An unknown architecture, metadata that is missing or out of range, tensors that are missing,
    /// left over, of the wrong shape or of a type that cannot be computed with.
    pub fn read(gguf: &'a Gguf) -> Result<Self, ModelError> {
        let header = gguf.header();
        let architecture = Architecture::find(&header.metadata)?;
        let spec = architecture.read_spec(&header.metadata)?;
        let placement = Placement::resolve(header, architecture, &spec)?;
        Ok(Self { gguf, placement, architecture, spec })
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
        self.placement.find(Place::Output, 0).is_none()
    }
}
