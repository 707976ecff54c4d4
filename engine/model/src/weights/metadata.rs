//! The metadata of a GGUF file: keys and typed values, copied out of the file.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::error::{GgufError, Name, Section};
use super::value::{Array, Strings, Value};

/// What a file says of itself besides its tensors.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    values: BTreeMap<String, Value>,
}

impl Metadata {
    pub(super) fn insert(&mut self, key: &str, value: Value) -> Result<(), GgufError> {
        match self.values.entry(key.to_owned()) {
            Entry::Occupied(_) => Err(GgufError::Duplicate { section: Section::Value(key.into()) }),
            Entry::Vacant(place) => {
                place.insert(value);
                Ok(())
            }
        }
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether the key is there, of whatever type.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// A boolean.
    ///
    /// # Errors
    /// The value is of another type.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.read(key, "a boolean", |value| {
            let Value::Bool(value) = value else { return None };
            Some(*value)
        })
    }

    /// A number, as single precision.
    ///
    /// # Errors
    /// The value is of another type.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, GgufError> {
        self.read(key, "a floating-point number", |value| {
            let Value::Float(value) = value else { return None };
            Some(*value as f32)
        })
    }

    /// An integer of any width whose value is that of a `u32`.
    ///
    /// # Errors
    /// The value is of another type or range.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, GgufError> {
        self.read(key, "an integer from 0 to 4294967295", |value| {
            let Value::Integer(value) = value else { return None };
            u32::try_from(*value).ok()
        })
    }

    /// A string.
    ///
    /// # Errors
    /// The value is of another type.
    pub fn string(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.read(key, "a string", |value| {
            let Value::String(value) = value else { return None };
            Some(&**value)
        })
    }

    /// The strings of an array.
    ///
    /// # Errors
    /// The value is of another type.
    pub fn strings(&self, key: &str) -> Result<Option<&Strings>, GgufError> {
        self.read(key, "an array of strings", |value| {
            let Value::Array(Array::Strings(strings)) = value else { return None };
            Some(strings)
        })
    }

    /// The numbers of an array, as single precision.
    ///
    /// # Errors
    /// The value is of another type.
    pub fn f32s(&self, key: &str) -> Result<Option<&[f32]>, GgufError> {
        self.read(key, "an array of floating-point numbers", |value| {
            let Value::Array(Array::Floats(values)) = value else { return None };
            Some(&**values)
        })
    }

    /// The integers of an array.
    ///
    /// # Errors
    /// The value is of another type, or an integer is beyond 32 bits.
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>, GgufError> {
        self.read(key, "an array of 32-bit integers", |value| {
            let Value::Array(Array::Integers(values)) = value else { return None };
            values.iter().map(|value| i32::try_from(value).ok()).collect()
        })
    }

    /// The integers of an array that has none below 0.
    ///
    /// # Errors
    /// The value is of another type, or an integer of another range.
    pub fn u32s(&self, key: &str) -> Result<Option<Vec<u32>>, GgufError> {
        self.read(key, "an array of integers from 0 to 4294967295", |value| {
            let Value::Array(Array::Integers(values)) = value else { return None };
            values.iter().map(|value| u32::try_from(value).ok()).collect()
        })
    }

    fn read<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        match convert(value) {
            Some(value) => Ok(Some(value)),
            None => Err(GgufError::WrongType {
                key: Name::from(key),
                found: value.describe(),
                expected,
            }),
        }
    }
}
