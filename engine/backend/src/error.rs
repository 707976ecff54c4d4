//! What a backend refuses or suffers.

use std::fmt;

use crate::DType;

/// An error of a device or of what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendError {
    /// The device's own words.
    Device(String),
    /// The backend has no product for weights of so many inputs.
    Inputs {
        /// Inputs of the weight.
        found: usize,
        /// What the inputs would have to be a multiple of.
        multiple: usize,
    },
    /// The device is lost to this process: nothing else can be done with it here. The device's own
    /// words.
    Lost(String),
    /// The allocation does not fit.
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
        /// Bytes that are free, where that is known.
        free: Option<usize>,
    },
    /// The backend keeps no keys and values in this type.
    Unkept {
        /// The type asked for.
        dtype: DType,
        /// Types that would do.
        supported: &'static [DType],
    },
    /// The backend has no product for weights of this type.
    Unsupported(DType),
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(text) => write!(f, "device error: {text}"),
            Self::Inputs { found, multiple } => {
                write!(
                    f,
                    "weights of {found} inputs are not supported, only of multiples of {multiple}"
                )
            }
            Self::Lost(text) => write!(f, "the device is lost to this process: {text}"),
            Self::OutOfMemory { bytes, free: None } => {
                write!(f, "out of memory allocating {bytes} bytes")
            }
            Self::OutOfMemory { bytes, free: Some(free) } => {
                write!(f, "out of memory allocating {bytes} bytes: {free} are free")
            }
            Self::Unkept { dtype, supported } => {
                write!(f, "keys and values of type {dtype:?} are not supported, only {supported:?}")
            }
            Self::Unsupported(dtype) => write!(f, "weights of type {dtype:?} are not supported"),
        }
    }
}

impl std::error::Error for BackendError {}
