//! A Hugging Face `config.json`, and the files like it: what a folder says of its model besides the
//! tensors.

use std::path::Path;

use super::fault::{Fault, FileError};
use super::folder::read_text;
use super::json::Json;

/// The keys and values of a `config.json`, or of another file that is an object in JSON.
///
/// A key may lead into objects and arrays by the dots in it: `rope_scaling.factor`, `layers.0`. A
/// value of `null` counts as absent, as it does to whoever wrote the file.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file's name, for messages.
    file: String,
    values: Json,
}

/// Hundreds of times what the largest take.
const BYTES_MAX: usize = 1 << 20;
const VALUES_MAX: usize = 1 << 16;

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, or is not an object in JSON.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let text = read_text(path, BYTES_MAX).map_err(|fault| FileError::new(&name, fault))?;
        Self::parse(&name, &text)
    }

    /// Reads the text of the file of this name.
    ///
    /// # Errors
    /// It is not an object in JSON, or one of too many values.
    pub fn parse(file: &str, text: &[u8]) -> Result<Self, FileError> {
        let wrong = |reason| FileError::new(file, Fault::Json { reason });
        match Json::parse(text, VALUES_MAX) {
            Ok(values @ Json::Object(_)) => Ok(Self { file: file.to_owned(), values }),
            Ok(other) => Err(wrong(format!("it is {}, expected an object", other.describe()))),
            Err(reason) => Err(wrong(reason)),
        }
    }

    /// Whether the key is there, of whatever type.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// A boolean.
    ///
    /// # Errors
    /// The value is of another type.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, FileError> {
        self.read(key, "a boolean", |value| {
            let Json::Bool(value) = value else { return None };
            Some(*value)
        })
    }

    /// A number, as single precision.
    ///
    /// # Errors
    /// The value is of another type.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, FileError> {
        self.read(key, "a number", |value| match value {
            Json::Float(value) => Some(*value as f32),
            Json::Integer(value) => Some(*value as f32),
            Json::Array(_) | Json::Bool(_) | Json::Null | Json::Object(_) | Json::String(_) => None,
        })
    }

    /// An integer.
    ///
    /// # Errors
    /// The value is of another type or range.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, FileError> {
        self.read(key, "an integer from 0 to 4294967295", integer)
    }

    /// A string.
    ///
    /// # Errors
    /// The value is of another type.
    pub fn string(&self, key: &str) -> Result<Option<&str>, FileError> {
        self.read(key, "a string", |value| {
            let Json::String(value) = value else { return None };
            Some(&**value)
        })
    }

    /// The strings of an array.
    ///
    /// # Errors
    /// The value is of another type.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<String>>, FileError> {
        self.read(key, "an array of strings", |value| {
            let Json::Array(values) = value else { return None };
            let string = |value: &_| match value {
                Json::String(value) => Some(value.clone().into_string()),
                Json::Array(_)
                | Json::Bool(_)
                | Json::Float(_)
                | Json::Integer(_)
                | Json::Null
                | Json::Object(_) => None,
            };
            values.iter().map(string).collect()
        })
    }

    /// The integers of an array.
    ///
    /// # Errors
    /// The value is of another type, or an integer of another range.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<u32>>, FileError> {
        self.read(key, "an array of integers from 0 to 4294967295", |value| {
            let Json::Array(values) = value else { return None };
            values.iter().map(integer).collect()
        })
    }

    fn find(&self, key: &str) -> Option<&Json> {
        let mut value = &self.values;
        for part in key.split('.') {
            value = match value {
                Json::Array(values) => values.get(part.parse::<usize>().ok()?)?,
                Json::Object(members) => members.get(part)?,
                Json::Bool(_)
                | Json::Float(_)
                | Json::Integer(_)
                | Json::Null
                | Json::String(_) => {
                    return None;
                }
            };
        }
        (*value != Json::Null).then_some(value)
    }

    fn read<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        convert: impl Fn(&'a Json) -> Option<T>,
    ) -> Result<Option<T>, FileError> {
        let Some(value) = self.find(key) else { return Ok(None) };
        match convert(value) {
            Some(value) => Ok(Some(value)),
            None => {
                let (key, found) = (key.into(), value.describe());
                Err(FileError::new(&self.file, Fault::WrongType { key, found, expected }))
            }
        }
    }
}

fn integer(value: &Json) -> Option<u32> {
    let Json::Integer(value) = value else { return None };
    u32::try_from(*value).ok()
}
