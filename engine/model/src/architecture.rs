//! The architectures that are known, each of them data: how to read a spec, and what its weights
//! are called.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::architectures::{llama, qwen2, qwen3};
use crate::place::Weight;
use crate::spec::DecoderSpec;
use crate::{GgufError, Metadata, ModelError, Name};

/// A family of models that the decoder can run.
#[derive(Debug)]
pub struct Architecture {
    /// Its name in `general.architecture`.
    pub name: &'static str,
    pub(crate) spec: fn(&Keys<'_>) -> Result<DecoderSpec, ModelError>,
    pub(crate) weights: &'static [Weight],
}

/// A new architecture is a file in `architectures/` and a line here.
const ARCHITECTURES: &[Architecture] =
    &[llama::ARCHITECTURE, qwen2::ARCHITECTURE, qwen3::ARCHITECTURE];

impl Architecture {
    /// The architecture that a file names.
    ///
    /// # Errors
    /// It names none, or one that is not known.
    pub fn find(metadata: &Metadata) -> Result<&'static Self, ModelError> {
        let key = "general.architecture";
        let Some(name) = metadata.string(key)? else {
            return Err(GgufError::Missing { key: key.into(), expected: "a string" }.into());
        };
        ARCHITECTURES.iter().find(|architecture| architecture.name == name).ok_or_else(|| {
            let known: Vec<_> = ARCHITECTURES.iter().map(|known| known.name).collect();
            ModelError::Architecture { found: name.into(), known: known.join(", ") }
        })
    }

    pub(crate) fn read_spec(&self, metadata: &Metadata) -> Result<DecoderSpec, ModelError> {
        (self.spec)(&Keys { metadata, architecture: self.name })
    }
}

/// Sizes that no model comes near. Products of three of them are far from overflowing.
pub(crate) const SIZES: RangeInclusive<u32> = 1..=1 << 20;

/// The metadata of one architecture: keys begin with its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'static str,
}

impl Keys<'_> {
    /// An integer within `range`.
    pub(crate) fn size(&self, key: &str, range: &RangeInclusive<u32>) -> Result<usize, ModelError> {
        self.size_or(key, range, None)
    }

    /// An integer within `range`, or the default where the key is absent.
    pub(crate) fn size_or(
        &self,
        key: &str,
        range: &RangeInclusive<u32>,
        default: Option<usize>,
    ) -> Result<usize, ModelError> {
        let full = self.full(key);
        match (self.metadata.u32(&full)?, default) {
            (Some(found), _) if range.contains(&found) => Ok(found as usize),
            (Some(found), _) => {
                Err(self.range(key, found, format!("{} to {}", range.start(), range.end())))
            }
            (None, Some(default)) => Ok(default),
            (None, None) => {
                Err(GgufError::Missing { key: Name::from(&*full), expected: "an integer" }.into())
            }
        }
    }

    /// A positive, finite number, or the default where the key is absent.
    pub(crate) fn number_or(&self, key: &str, default: Option<f32>) -> Result<f32, ModelError> {
        let full = self.full(key);
        match self.metadata.f32(&full)?.or(default) {
            Some(found) if found.is_finite() && found > 0.0 => Ok(found),
            Some(found) => Err(self.range(key, found, "a positive number")),
            None => {
                Err(GgufError::Missing { key: Name::from(&*full), expected: "a number" }.into())
            }
        }
    }

    /// A string, or the default where the key is absent.
    pub(crate) fn string_or<'a>(
        &'a self,
        key: &str,
        default: &'a str,
    ) -> Result<&'a str, ModelError> {
        Ok(self.metadata.string(&self.full(key))?.unwrap_or(default))
    }

    /// Number of tokens: the architecture's own key, or the length of the tokenizer's list.
    pub(crate) fn vocab(&self) -> Result<usize, ModelError> {
        let listed = self.metadata.strings("tokenizer.ggml.tokens")?.map(super::Strings::len);
        let vocab = self.size_or("vocab_size", &SIZES, listed)?;
        match listed {
            Some(listed) if listed != vocab => Err(self.range(
                "vocab_size",
                vocab,
                format!("{listed}, the length of `tokenizer.ggml.tokens`"),
            )),
            _ => Ok(vocab),
        }
    }

    /// The error of a value that its key does not take.
    pub(crate) fn range(
        &self,
        key: &str,
        found: impl Display,
        expected: impl Into<String>,
    ) -> ModelError {
        ModelError::Range {
            key: Name::from(&*self.full(key)),
            found: found.to_string(),
            expected: expected.into(),
        }
    }

    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }
}
