//! Reads a GGUF file: versions 2 and 3, little-endian.
//!
//! A file is not trusted. Every count, length, offset, type and shape is checked against the bytes
//! that are there before anything is made of it; memory and time stay in proportion to the file's
//! length, and what is wrong is a [`GgufError`] that names the key or the tensor. The format is
//! that of ggml's `docs/gguf.md`.

use super::cursor::Cursor;
use super::error::{GgufError, Section};
use super::metadata::Metadata;
use super::tensor::{self, TensorInfo};
use super::value::Value;

/// What stands before the data of a GGUF file.
#[derive(Clone, Debug)]
pub struct Header {
    /// Version of the format.
    pub version: u32,
    /// Keys and values.
    pub metadata: Metadata,
    /// The tensors, in the file's order.
    pub tensors: Vec<TensorInfo>,
}

/// A model has some dozens of keys and some hundreds of tensors; more than this is an attack.
const ENTRIES_MAX: u64 = 1 << 16;
const KEY_BYTES_MAX: u64 = u16::MAX as u64;
const ALIGNMENT_DEFAULT: u32 = 32;

impl Header {
    /// Reads the header of a file with these bytes, and checks that all of its tensors are there.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(file: &[u8]) -> Result<Self, GgufError> {
        let mut cursor = Cursor::new(file);
        let version = read_version(&mut cursor)?;
        let num_tensors = read_count(&mut cursor, "tensors")?;
        let num_keys = read_count(&mut cursor, "metadata keys")?;
        let metadata = read_metadata(&mut cursor, num_keys)?;
        let alignment = read_alignment(&metadata)?;
        let tensors = tensor::read_all(&mut cursor, num_tensors, alignment)?;
        Ok(Self { version, metadata, tensors })
    }
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<u32, GgufError> {
    let found = cursor.array()?;
    if &found != b"GGUF" {
        return Err(GgufError::Magic { found });
    }
    match cursor.u32()? {
        version @ (2 | 3) => Ok(version),
        found => Err(GgufError::Version { found }),
    }
}

fn read_count(cursor: &mut Cursor<'_>, what: &'static str) -> Result<u64, GgufError> {
    match cursor.u64()? {
        count @ 0..=ENTRIES_MAX => Ok(count),
        found => Err(GgufError::TooMany { what, found, most: ENTRIES_MAX }),
    }
}

fn read_metadata(cursor: &mut Cursor<'_>, count: u64) -> Result<Metadata, GgufError> {
    let mut metadata = Metadata::default();
    for index in 0..count {
        cursor.section = Section::Key(index);
        let key = cursor.name(KEY_BYTES_MAX)?;
        cursor.section = Section::Value(key.into());
        let value = Value::read(cursor)?;
        metadata.insert(key, value)?;
    }
    Ok(metadata)
}

fn read_alignment(metadata: &Metadata) -> Result<u64, GgufError> {
    match metadata.u32("general.alignment")?.unwrap_or(ALIGNMENT_DEFAULT) {
        alignment if alignment.is_power_of_two() => Ok(alignment.into()),
        found => Err(GgufError::Alignment { found }),
    }
}
