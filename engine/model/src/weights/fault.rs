//! What is wrong with one of the files that a checkpoint is made of.

use std::io;

use super::error::{GgufError, Name};

/// One file of a checkpoint, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {fault}")]
pub struct FileError {
    /// The file's name.
    pub file: Name,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a file of a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The file is not there.
    #[error("it is missing")]
    Absent,
    /// A tensor has too many dimensions.
    #[error("tensor {tensor} has {found} dimensions, expected at most {most}")]
    Dimensions {
        /// The tensor.
        tensor: Name,
        /// The number in the file.
        found: usize,
        /// The most that is allowed.
        most: usize,
    },
    /// A tensor is in this file, and was met before, here or in another.
    #[error("tensor {tensor} occurs twice, first in {first}")]
    Duplicate {
        /// The tensor.
        tensor: Name,
        /// The file that has it, too.
        first: Name,
    },
    /// A tensor's elements are of a type that is not read.
    #[error("tensor {tensor} has elements of type {found}, expected one of {supported}")]
    ElementType {
        /// The tensor.
        tensor: Name,
        /// The type in the file.
        found: Name,
        /// The types that would do.
        supported: String,
    },
    /// A part of a GGUF file, by itself.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The text is not what it should be.
    #[error("it is malformed: {reason}")]
    Json {
        /// What is wrong, and where.
        reason: String,
    },
    /// The index says that this file has a tensor that it does not have.
    #[error("tensor {tensor} is not in it, although the index says so")]
    Lacks {
        /// The tensor.
        tensor: Name,
    },
    /// A key is absent.
    #[error("{key} is missing, expected {expected}")]
    Missing {
        /// The key.
        key: Name,
        /// What its value would be.
        expected: &'static str,
    },
    /// A tensor's bytes are not all in the file.
    #[error(
        "tensor {tensor} is said to be at {begin} to {end}, but the data of the file has {length} \
         bytes"
    )]
    OutOfFile {
        /// The tensor.
        tensor: Name,
        /// Offset of its first byte from the start of the data.
        begin: u64,
        /// Offset of the byte after its last.
        end: u64,
        /// Bytes from the start of the data to the end of the file.
        length: u64,
    },
    /// Two tensors share bytes.
    #[error("tensors {tensor} and {other} overlap")]
    Overlap {
        /// The tensor that begins first.
        tensor: Name,
        /// The tensor that begins within it.
        other: Name,
    },
    /// A part of a GGUF file whose name does not say which one it is.
    #[error(
        "it is part {number} of {count}, expected a name that ends in -{number:05}-of-{count:05}.gguf"
    )]
    PartName {
        /// Which part it is, from 1 on.
        number: u32,
        /// How many parts there are.
        count: u32,
    },
    /// A value is not one that its key or the other files allow.
    #[error("{key} is {found}, expected {expected}")]
    Range {
        /// The key.
        key: Name,
        /// The value in the file.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// The index names a file that is none of the folder's.
    #[error(
        "tensor {tensor} is said to be in {shard}, expected the name of a file beside the index"
    )]
    ShardName {
        /// The tensor.
        tensor: Name,
        /// The name in the index.
        shard: Name,
    },
    /// The bytes that a tensor is said to have are not those of its shape and type.
    #[error("tensor {tensor} has {found} bytes, expected {expected} by its shape and type")]
    Size {
        /// The tensor.
        tensor: Name,
        /// Bytes in the file.
        found: u64,
        /// Bytes that its shape and type ask for.
        expected: u64,
    },
    /// More bytes than a file of this sort ever has.
    #[error("{what} has {found} bytes, expected at most {most}")]
    TooLong {
        /// "it" or "its header".
        what: &'static str,
        /// Bytes in the file.
        found: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// The header counts more tensors than any model has.
    #[error("it has more than {most} tensors, expected at most as many")]
    TooMany {
        /// The most that is allowed.
        most: usize,
    },
    /// The file ends too early.
    #[error("its header takes {needed} bytes, but the file has {length}")]
    Truncated {
        /// Bytes that the header takes, or would if it were there.
        needed: u64,
        /// Bytes of the file.
        length: u64,
    },
    /// A tensor of a file that the index does not list, or lists for another file.
    #[error("tensor {tensor} is in it, but the index {instead}")]
    Unlisted {
        /// The tensor.
        tensor: Name,
        /// What the index says of the tensor instead.
        instead: String,
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
    /// A tensor's shape cannot be.
    #[error(
        "tensor {tensor} has the shape {shape:?}, expected sizes whose product is not 0 and fits"
    )]
    Shape {
        /// The tensor.
        tensor: Name,
        /// Its sizes as the file has them, outermost first.
        shape: Vec<u64>,
    },
}

impl FileError {
    pub(super) fn new(file: &str, fault: impl Into<Fault>) -> Self {
        Self { file: file.into(), fault: fault.into() }
    }
}

impl Fault {
    /// What it means that a file cannot be opened.
    pub(super) fn of_opening(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound { Self::Absent } else { Self::Io(error) }
    }
}

/// What is wrong with a text that was read as JSON.
impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self::Json { reason }
    }
}
