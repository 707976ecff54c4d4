//! What a checkpoint says of itself, read by keys that have a name in each format.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::{Facts, GgufError, ModelError, Name, Strings};

/// A key's name in GGUF, after the architecture's prefix, and its name in a `config.json`.
///
/// A name is empty where its format has no such key. Of several names with a `|` between them the
/// first that is there counts.
pub(crate) type Key<'a> = (&'a str, &'a str);

/// Sizes that no model comes near. Products of three of them are far from overflowing.
pub(crate) const SIZES: RangeInclusive<u32> = 1..=1 << 20;

/// Layers that no model comes near.
pub(crate) const LAYERS: RangeInclusive<u32> = 1..=1 << 12;

/// The facts of a checkpoint of one architecture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys<'a> {
    pub(crate) facts: &'a Facts,
    /// What GGUF's keys begin with.
    pub(crate) prefix: &'static str,
}

impl Keys<'_> {
    /// Whether the checkpoint is a GGUF file.
    pub(crate) const fn are_ggufs(&self) -> bool {
        matches!(self.facts, Facts::Gguf(_))
    }

    /// An integer within `range`.
    pub(crate) fn size(
        &self,
        key: Key<'_>,
        range: &RangeInclusive<u32>,
    ) -> Result<usize, ModelError> {
        self.size_if(key, range)?.ok_or_else(|| self.missing(key, "an integer"))
    }

    /// An integer within `range`, or the default where the key is absent.
    pub(crate) fn size_or(
        &self,
        key: Key<'_>,
        range: &RangeInclusive<u32>,
        default: usize,
    ) -> Result<usize, ModelError> {
        Ok(self.size_if(key, range)?.unwrap_or(default))
    }

    /// An integer within `range`, if the key is there.
    pub(crate) fn size_if(
        &self,
        key: Key<'_>,
        range: &RangeInclusive<u32>,
    ) -> Result<Option<usize>, ModelError> {
        match self.find(key, |facts, name| facts.u32(name))? {
            Some(found) if range.contains(&found) => Ok(Some(found as usize)),
            Some(found) => {
                Err(self.range(key, found, format!("{} to {}", range.start(), range.end())))
            }
            None => Ok(None),
        }
    }

    /// A positive, finite number.
    pub(crate) fn number(&self, key: Key<'_>) -> Result<f32, ModelError> {
        self.number_if(key)?.ok_or_else(|| self.missing(key, "a number"))
    }

    /// A positive, finite number, or the default where the key is absent.
    pub(crate) fn number_or(&self, key: Key<'_>, default: f32) -> Result<f32, ModelError> {
        Ok(self.number_if(key)?.unwrap_or(default))
    }

    /// A positive, finite number, if the key is there.
    pub(crate) fn number_if(&self, key: Key<'_>) -> Result<Option<f32>, ModelError> {
        match self.find(key, |facts, name| facts.f32(name))? {
            Some(found) if found.is_finite() && found > 0.0 => Ok(Some(found)),
            Some(found) => Err(self.range(key, found, "a positive number")),
            None => Ok(None),
        }
    }

    /// A boolean, or the default where the key is absent.
    pub(crate) fn flag_or(&self, key: Key<'_>, default: bool) -> Result<bool, ModelError> {
        Ok(self.flag_if(key)?.unwrap_or(default))
    }

    /// A boolean, if the key is there.
    pub(crate) fn flag_if(&self, key: Key<'_>) -> Result<Option<bool>, ModelError> {
        self.find(key, |facts, name| facts.bool(name))
    }

    /// A string, if the key is there.
    pub(crate) fn string_if(&self, key: Key<'_>) -> Result<Option<String>, ModelError> {
        self.find(key, |facts, name| Ok(facts.string(name)?.map(str::to_owned)))
    }

    /// Strings, if the key is there.
    pub(crate) fn strings_if(&self, key: Key<'_>) -> Result<Option<Vec<String>>, ModelError> {
        self.find(key, |facts, name| facts.strings(name))
    }

    /// Integers, if the key is there.
    pub(crate) fn integers_if(&self, key: Key<'_>) -> Result<Option<Vec<u32>>, ModelError> {
        self.find(key, |facts, name| facts.integers(name))
    }

    /// Whether the checkpoint has the key, of whatever type.
    pub(crate) fn has(&self, key: Key<'_>) -> bool {
        self.names(key).iter().any(|name| self.facts.has(name))
    }

    /// Length of the tokenizer's list of tokens in a GGUF file.
    pub(crate) fn listed_tokens(&self) -> Result<Option<usize>, ModelError> {
        match self.facts {
            Facts::Gguf(metadata) => {
                Ok(metadata.strings("tokenizer.ggml.tokens")?.map(Strings::len))
            }
            Facts::HuggingFace(_) => Ok(None),
        }
    }

    /// The error of a value that its key does not take.
    pub(crate) fn range(
        &self,
        key: Key<'_>,
        found: impl Display,
        expected: impl Into<String>,
    ) -> ModelError {
        ModelError::Range {
            key: Name::from(&*self.name(key)),
            found: found.to_string(),
            expected: expected.into(),
        }
    }

    fn missing(&self, key: Key<'_>, expected: &'static str) -> ModelError {
        GgufError::Missing { key: Name::from(&*self.name(key)), expected }.into()
    }

    fn find<T>(
        &self,
        key: Key<'_>,
        read: impl Fn(&Facts, &str) -> Result<Option<T>, ModelError>,
    ) -> Result<Option<T>, ModelError> {
        for name in self.names(key) {
            if let Some(found) = read(self.facts, &name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The name that a message gives to a key: the one that is there, or the first.
    fn name(&self, key: Key<'_>) -> String {
        let mut names = self.names(key);
        let there = names.iter().position(|name| self.facts.has(name)).unwrap_or(0);
        if names.is_empty() { key.0.to_owned() } else { names.swap_remove(there) }
    }

    fn names(&self, (gguf, config): Key<'_>) -> Vec<String> {
        let (names, prefix) = match self.facts {
            Facts::Gguf(_) => (gguf, format!("{}.", self.prefix)),
            Facts::HuggingFace(_) => (config, String::new()),
        };
        names.split('|').filter(|name| !name.is_empty()).map(|name| prefix.clone() + name).collect()
    }
}
