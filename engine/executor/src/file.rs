//! A model file, opened and checked.

use std::path::Path;

use engine_model::{Blueprint, Checkpoint, Facts, Metadata};

use crate::{LoadError, Summary, TextAssets};

/// A GGUF file whose structure is sound. Whether its model can run is for [`Self::check`] to say,
/// so that also a model that cannot can be inspected.
#[derive(Debug)]
pub struct ModelFile {
    checkpoint: Checkpoint,
}

impl ModelFile {
    /// Opens a file and checks its header: every count, length, offset, type and shape, and what it
    /// says about text.
    ///
    /// # Errors
    /// The file cannot be read, or something in it is wrong.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let checkpoint = Checkpoint::open(path)?;
        let file = Self { checkpoint };
        TextAssets::read(file.metadata())?;
        Ok(file)
    }

    /// Whether [`crate::load`] can run this model, as far as the header tells.
    ///
    /// # Errors
    /// An architecture or a type of weights that is not supported; metadata and tensors that
    /// contradict each other.
    pub fn check(&self) -> Result<(), LoadError> {
        self.blueprint().map(drop)
    }

    /// What a tokenizer and a chat template are built from.
    #[must_use]
    pub fn text(&self) -> TextAssets {
        TextAssets::read(self.metadata()).expect("was read when the file was opened")
    }

    /// The model's name, if the file says it.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.metadata().string("general.name").ok().flatten()
    }

    /// Most positions of one sequence that the model was trained for; 0 if the file does not say
    /// it.
    #[must_use]
    pub fn context(&self) -> u32 {
        let metadata = self.metadata();
        let architecture = metadata.string("general.architecture").ok().flatten();
        let key = format!("{}.context_length", architecture.unwrap_or_default());
        metadata.u32(&key).ok().flatten().unwrap_or_default()
    }

    /// What the file holds, for a person to read.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary::new(self)
    }

    pub(crate) fn blueprint(&self) -> Result<Blueprint<'_>, LoadError> {
        Ok(Blueprint::read(&self.checkpoint)?)
    }

    pub(crate) const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        let Facts::Gguf(metadata) = self.checkpoint.facts() else { unreachable!() };
        metadata
    }
}
