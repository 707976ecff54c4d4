//! What is wrong with one of the files that a checkpoint is made of.

use std::fmt;
use std::io;

use super::error::{GgufError, Name};

/// One file of a checkpoint, and what is wrong with it.
#[derive(Debug)]
pub struct FileError {
    /// The file's name.
    pub file: Name,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a file of a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A part of a GGUF file, taken by itself.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The text is not what it should be.
    #[error("it is not as it should be: {reason}")]
    Json {
        /// What is wrong, and where.
        reason: String,
    },
    /// More bytes than a file of this sort ever has.
    #[error("it has {found} bytes, expected at most {most}")]
    TooLong {
        /// Bytes of the file.
        found: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// A value is of another type than its key asks for.
    #[error("{key} is {found}, expected {expected}")]
    WrongType {
        /// The key.
        key: Name,
        /// What the file has.
        found: &'static str,
        /// What would be right.
        expected: &'static str,
    },
}

impl FileError {
    pub(super) fn new(file: &str, fault: impl Into<Fault>) -> Self {
        Self { file: file.into(), fault: fault.into() }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.fault)
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        None
    }
}
