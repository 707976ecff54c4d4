//! What a checkpoint says of its model besides the tensors, whatever format says it.

use super::{Config, Metadata};
use crate::ModelError;

/// The keys and values of a checkpoint. Keys have the names of the format.
#[derive(Clone, Debug)]
pub enum Facts {
    /// The metadata of a GGUF file.
    Gguf(Metadata),
    /// A Hugging Face `config.json`.
    HuggingFace(Config),
}

impl Facts {
    /// Whether the key is there, of whatever type.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        match self {
            Self::Gguf(metadata) => metadata.has(key),
            Self::HuggingFace(config) => config.has(key),
        }
    }

    /// A boolean.
    ///
    /// # Errors
    /// The value is of another type.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, ModelError> {
        Ok(match self {
            Self::Gguf(metadata) => metadata.bool(key)?,
            Self::HuggingFace(config) => config.bool(key)?,
        })
    }

    /// A number, as single precision.
    ///
    /// # Errors
    /// The value is of another type.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, ModelError> {
        Ok(match self {
            Self::Gguf(metadata) => metadata.f32(key)?,
            Self::HuggingFace(config) => config.f32(key)?,
        })
    }

    /// An integer.
    ///
    /// # Errors
    /// The value is of another type or range.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, ModelError> {
        Ok(match self {
            Self::Gguf(metadata) => metadata.u32(key)?,
            Self::HuggingFace(config) => config.u32(key)?,
        })
    }

    /// A string.
    ///
    /// # Errors
    /// The value is of another type.
    pub fn string(&self, key: &str) -> Result<Option<&str>, ModelError> {
        Ok(match self {
            Self::Gguf(metadata) => metadata.string(key)?,
            Self::HuggingFace(config) => config.string(key)?,
        })
    }

    /// The strings of an array.
    ///
    /// # Errors
    /// The value is of another type.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<String>>, ModelError> {
        Ok(match self {
            Self::Gguf(metadata) => {
                metadata.strings(key)?.map(|all| all.iter().map(str::to_owned).collect())
            }
            Self::HuggingFace(config) => config.strings(key)?,
        })
    }

    /// The integers of an array.
    ///
    /// # Errors
    /// The value is of another type, or an integer of another range.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<u32>>, ModelError> {
        Ok(match self {
            Self::Gguf(metadata) => metadata.u32s(key)?,
            Self::HuggingFace(config) => config.integers(key)?,
        })
    }
}
