//! Why a file's model cannot be loaded.

use std::io;

use engine_backend::BackendError;

use crate::{FileError, GgufError, Name, Shape};

/// Why a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No decoder for this architecture.
    #[error("metadata {key} is {found}, which is not supported; supported: {known}")]
    Architecture {
        /// The key that says it.
        key: Name,
        /// The name in the file.
        found: Name,
        /// The names that would do.
        known: String,
    },
    /// The backend cannot hold the weights.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A rank's share of a tensor's rows would end within a block.
    #[error(
        "tensor {tensor} has rows of {columns} elements of type {element}, which cannot be cut \
         into {parts} parts of whole blocks of {block}"
    )]
    Cut {
        /// The tensor.
        tensor: Name,
        /// Elements of a row.
        columns: u64,
        /// How many parts are wanted.
        parts: usize,
        /// The type's name.
        element: &'static str,
        /// Elements of a block.
        block: u64,
    },
    /// The weights are of a type that cannot be computed with.
    #[error(
        "tensor {tensor} has elements of type {found}, which is not supported here; \
         supported: {supported}"
    )]
    ElementType {
        /// The tensor.
        tensor: Name,
        /// The type's name.
        found: &'static str,
        /// The names that would do.
        supported: String,
    },
    /// A tensor that the architecture has no place for.
    #[error(
        "tensor {tensor} of shape {found} has no place in a model of architecture `{architecture}`"
    )]
    Extra {
        /// The tensor.
        tensor: Name,
        /// Its shape.
        found: Shape,
        /// The file's architecture.
        architecture: &'static str,
    },
    /// One of several files is wrong.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file itself is wrong.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The file cannot be read.
    #[error("cannot read the file: {0}")]
    Io(#[from] io::Error),
    /// A tensor that the architecture needs is absent.
    #[error("tensor {tensor} is missing, expected the shape {expected}")]
    MissingTensor {
        /// The tensor.
        tensor: Name,
        /// What the metadata says of it.
        expected: Shape,
    },
    /// The backend cannot keep a tensor.
    #[error("tensor {tensor} cannot be brought to the device: {error}")]
    Kept {
        /// The tensor, the first of those that are kept together.
        tensor: Name,
        /// What the backend says.
        error: BackendError,
    },
    /// A number in the metadata is out of range.
    #[error("metadata {key} is {found}, expected {expected}")]
    Range {
        /// The key.
        key: Name,
        /// The value.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// A tensor's shape contradicts the metadata.
    #[error("tensor {tensor} has the shape {found}, expected {expected} by the metadata")]
    Shape {
        /// The tensor.
        tensor: Name,
        /// What the metadata says of it.
        expected: Shape,
        /// What the file has.
        found: Shape,
    },
}
