//! What is wrong with a weights file.

use std::fmt;

/// Why a file is not a GGUF file that can be read, with the key or tensor that is wrong.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GgufError {
    /// `general.alignment` is not a power of two.
    #[error("metadata `general.alignment` is {found}, expected a power of two")]
    Alignment {
        /// The value in the file.
        found: u32,
    },
    /// The rows of a tensor are not whole blocks of its type.
    #[error(
        "tensor {tensor} has rows of {columns} elements, expected a multiple of {block}, \
         the block of {element}"
    )]
    Block {
        /// The tensor.
        tensor: Name,
        /// Elements of a row.
        columns: u64,
        /// The type's name.
        element: &'static str,
        /// Elements of the type's block.
        block: u64,
    },
    /// A boolean is neither 0 nor 1.
    #[error("{section} holds {found} as a boolean, expected 0 or 1")]
    Boolean {
        /// Where it stands.
        section: Section,
        /// The byte in the file.
        found: u8,
    },
    /// A tensor has no or too many dimensions.
    #[error("tensor {tensor} has {found} dimensions, expected 1 to 4")]
    Dimensions {
        /// The tensor.
        tensor: Name,
        /// The number in the file.
        found: u32,
    },
    /// Two metadata entries or two tensors have the same name.
    #[error("{section} occurs twice")]
    Duplicate {
        /// The name that was met again.
        section: Section,
    },
    /// A tensor's element type is not one of ggml's.
    #[error(
        "tensor {tensor} has element type {found}, which ggml does not define or no longer has"
    )]
    ElementType {
        /// The tensor.
        tensor: Name,
        /// The number in the file.
        found: u32,
    },
    /// The header is longer than any model's.
    #[error("the header goes on beyond {most} bytes in {section}, expected its end before")]
    HeaderTooLong {
        /// What was being read.
        section: Section,
        /// The most that is allowed.
        most: u64,
    },
    /// The file does not begin as a GGUF file does.
    #[error("not a GGUF file: it begins with the bytes {found:02x?}, expected those of \"GGUF\"")]
    Magic {
        /// The first bytes.
        found: [u8; 4],
    },
    /// A tensor's offset is not aligned.
    #[error(
        "tensor {tensor} has offset {offset}, expected a multiple of the alignment {alignment}"
    )]
    Misaligned {
        /// The tensor.
        tensor: Name,
        /// Offset from the start of the data.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// A required metadata entry is absent.
    #[error("metadata {key} is missing, expected {expected}")]
    Missing {
        /// The key.
        key: Name,
        /// What its value would be.
        expected: &'static str,
    },
    /// A name is empty or too long.
    #[error("{section} has a name of {found} bytes, expected 1 to {most}")]
    NameLength {
        /// Whose name it is.
        section: Section,
        /// The length in the file.
        found: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// An array of arrays.
    #[error("{section} is an array of arrays, expected an array of numbers, booleans or strings")]
    Nested {
        /// Where it stands.
        section: Section,
    },
    /// A string is not UTF-8.
    #[error("{section} is not valid UTF-8")]
    NotUtf8 {
        /// Where it stands.
        section: Section,
    },
    /// A tensor's bytes are not all in the file.
    #[error(
        "tensor {tensor} takes {bytes} bytes at offset {offset}, \
         but the data of the file has {length} bytes"
    )]
    OutOfFile {
        /// The tensor.
        tensor: Name,
        /// Offset from the start of the data.
        offset: u64,
        /// Bytes that its shape and type ask for.
        bytes: u64,
        /// Bytes from the start of the data to the end of the file.
        length: u64,
    },
    /// Two tensors share bytes.
    #[error("tensors {tensor} and {other} overlap in the file")]
    Overlap {
        /// The tensor that begins first.
        tensor: Name,
        /// The tensor that begins within it.
        other: Name,
    },
    /// A tensor has more elements than can be counted.
    #[error("tensor {tensor} has the shape {dimensions:?}, whose size does not fit into 64 bits")]
    TooLarge {
        /// The tensor.
        tensor: Name,
        /// Its dimensions, innermost first.
        dimensions: Vec<u64>,
    },
    /// The header counts more entries than any model has.
    #[error("the header counts {found} {what}, expected at most {most}")]
    TooMany {
        /// "metadata keys" or "tensors".
        what: &'static str,
        /// The number in the file.
        found: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// The file ends too early.
    #[error(
        "file is truncated in {section}: {needed} bytes are needed at offset {offset}, \
         but the file has {length}"
    )]
    Truncated {
        /// What was being read.
        section: Section,
        /// Where it begins.
        offset: u64,
        /// Bytes needed from there on.
        needed: u64,
        /// Length of the file.
        length: u64,
    },
    /// A metadata value's type is not one of GGUF's.
    #[error("{section} has value type {found}, expected 0 to 12")]
    ValueType {
        /// Where it stands.
        section: Section,
        /// The number in the file.
        found: u32,
    },
    /// A metadata value is of another type than its key asks for.
    #[error("metadata {key} is {found}, expected {expected}")]
    WrongType {
        /// The key.
        key: Name,
        /// What the file has.
        found: &'static str,
        /// What would be right.
        expected: &'static str,
    },
    /// A version of the format that is not known.
    #[error("GGUF version {found} is not supported, expected version 2 or 3, little-endian")]
    Version {
        /// The number in the file.
        found: u32,
    },
    /// A dimension of a tensor is zero.
    #[error("tensor {tensor} has the shape {dimensions:?}, expected no dimension to be 0")]
    ZeroDimension {
        /// The tensor.
        tensor: Name,
        /// Its dimensions, innermost first.
        dimensions: Vec<u64>,
    },
}

/// The part of a file that was being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Section {
    /// The counts at its start.
    Header,
    /// The n-th metadata entry, whose key is not known yet.
    Key(u64),
    /// The n-th tensor, whose name is not known yet.
    NthTensor(u64),
    /// A tensor.
    Tensor(Name),
    /// A metadata value.
    Value(Name),
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the header"),
            Self::Key(index) => write!(f, "metadata key number {index}"),
            Self::NthTensor(index) => write!(f, "tensor number {index}"),
            Self::Tensor(name) => write!(f, "tensor {name}"),
            Self::Value(name) => write!(f, "metadata {name}"),
        }
    }
}

/// A name out of a file. Printed in backticks, escaped, and cut after 64 characters: a file decides
/// what a name is, but not what a terminal or a log line shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

const NAME_CHARACTERS_SHOWN: usize = 64;

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        Self(name.chars().take(NAME_CHARACTERS_SHOWN + 1).collect())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.0.chars().take(NAME_CHARACTERS_SHOWN).collect();
        let more = if shown.len() < self.0.len() { "..." } else { "" };
        write!(f, "`{}{more}`", shown.escape_debug())
    }
}
