//! What weights are read from, whatever the format.

use std::path::Path;

use crate::weights::{Facts, Gguf, Mapped};
use crate::{ModelError, TensorInfo};

/// A model's facts and weights, opened and checked as a whole. Whether they make a model that can
/// run is for [`crate::Blueprint`] to say.
#[derive(Debug)]
pub struct Checkpoint {
    gguf: Gguf,
    facts: Facts,
}

/// The bytes of a tensor; given back when dropped.
pub type Bytes = Mapped;

impl Checkpoint {
    /// Opens a GGUF file.
    ///
    /// # Errors
    /// The file cannot be read, or something in it is wrong.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let gguf = Gguf::open(path)?;
        let facts = Facts::Gguf(gguf.header().metadata.clone());
        Ok(Self { gguf, facts })
    }

    /// What it says of its model besides the tensors.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Its tensors, named as the files name them.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.gguf.header().tensors
    }

    /// The bytes of one of its tensors.
    ///
    /// # Errors
    /// The system's.
    pub fn bytes(&self, tensor: &TensorInfo) -> Result<Bytes, ModelError> {
        self.gguf.bytes(tensor)
    }

    /// Bytes of all tensors.
    #[must_use]
    pub fn tensor_bytes(&self) -> u64 {
        self.gguf.header().tensor_bytes()
    }

    /// The format, for a person to read.
    #[must_use]
    pub fn format(&self) -> String {
        format!("GGUF version {}", self.gguf.header().version)
    }
}
