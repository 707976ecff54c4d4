//! A GGUF file in one part or in several.
//!
//! Parts are named `NAME-00001-of-00003.gguf`. The first has the model's metadata, each has its
//! number (`split.no`, from 0 on) and how many there are (`split.count`), as llama.cpp's
//! `gguf-split` writes them.

use std::path::Path;

use super::error::GgufError;
use super::fault::{Fault, FileError};
use super::files::Files;
use super::gguf::Header;
use super::map::Map;
use super::metadata::Metadata;
use crate::ModelError;

/// An open GGUF file, all of its parts.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) version: u32,
    pub(crate) metadata: Metadata,
    pub(crate) files: Files,
}

/// Far more than any model is cut into.
const PARTS_MAX: u32 = 1 << 12;

impl Parts {
    /// Opens a file, and all other parts if it is one of several. Any part may be named.
    ///
    /// # Errors
    /// A part is missing or damaged, or they do not fit each other.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        let map = Map::open(path)?;
        let header = Header::parse(&map.range(0..map.length())?)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match Split::read(&header)? {
            Split { count: ..=1, .. } => Ok(Self::collect([Ok((name.into_owned(), header, map))])?),
            split => Ok(Self::open_all(path, &name, split)?),
        }
    }

    /// Opens all parts beside one of them.
    fn open_all(path: &Path, name: &str, split: Split) -> Result<Self, FileError> {
        let base = split.base(name).map_err(|fault| FileError::new(name, fault))?;
        let parts = (0..split.count).map(|number| {
            let part = Split { number, ..split };
            let name = part.name(base);
            let opened = part.open(&path.with_file_name(&name));
            let (header, map) = opened.map_err(|fault| FileError::new(&name, fault))?;
            Ok((name, header, map))
        });
        let whole = Self::collect(parts)?;
        let first = Split { number: 0, ..split }.name(base);
        whole.check_count().map_err(|fault| FileError::new(&first, fault))?;
        Ok(whole)
    }

    fn collect(
        parts: impl IntoIterator<Item = Result<(String, Header, Map), FileError>>,
    ) -> Result<Self, FileError> {
        let mut files = Files::default();
        let mut first = None;
        for part in parts {
            let (name, Header { version, metadata, tensors }, map) = part?;
            first.get_or_insert((version, metadata));
            files.add(&name, map, tensors)?;
        }
        let (version, metadata) = first.expect("a file has at least one part");
        Ok(Self { version, metadata, files })
    }

    fn check_count(&self) -> Result<(), Fault> {
        let key = "split.tensors.count";
        let found = self.files.tensors.len();
        match self.metadata.u32(key)? {
            Some(count) if count as usize != found => Err(Fault::Range {
                key: key.into(),
                found: count.to_string(),
                expected: format!("{found}, the number of tensors in all parts"),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

/// Which part of how many.
#[derive(Clone, Copy)]
struct Split {
    /// From 0 on.
    number: u32,
    count: u32,
}

impl Split {
    fn read(header: &Header) -> Result<Self, GgufError> {
        let number = |key, default| Ok(header.metadata.u32(key)?.unwrap_or(default));
        Ok(Self { number: number("split.no", 0)?, count: number("split.count", 1)? })
    }

    /// What stands before the number in the name of this part.
    fn base(self, name: &str) -> Result<&str, Fault> {
        let range = |key: &str, found: u32, expected: String| Fault::Range {
            key: key.into(),
            found: found.to_string(),
            expected,
        };
        if self.count > PARTS_MAX {
            return Err(range("split.count", self.count, format!("at most {PARTS_MAX}")));
        }
        if self.number >= self.count {
            return Err(range("split.no", self.number, format!("less than {}", self.count)));
        }
        let (number, count) = (self.number + 1, self.count);
        name.strip_suffix(&self.name("")).ok_or(Fault::PartName { number, count })
    }

    fn name(self, base: &str) -> String {
        format!("{base}-{:05}-of-{:05}.gguf", self.number + 1, self.count)
    }

    /// Opens the file, which must say of itself that it is this part.
    fn open(self, path: &Path) -> Result<(Header, Map), Fault> {
        let map = Map::open(path).map_err(Fault::of_opening)?;
        let header = Header::parse(&map.range(0..map.length())?)?;
        let Self { number, count } = Self::read(&header)?;
        let checks = [("split.count", count, self.count), ("split.no", number, self.number)];
        match checks.into_iter().find(|(_, found, expected)| found != expected) {
            None => Ok((header, map)),
            Some((key, found, expected)) => Err(Fault::Range {
                key: key.into(),
                found: found.to_string(),
                expected: format!("{expected}, as the names of the parts say"),
            }),
        }
    }
}
