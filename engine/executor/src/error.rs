//! Why an engine cannot be built.

use engine_backend::BackendError;
use engine_cuda::OpenError;
use engine_model::{GgufError, ModelError};

use crate::{ConfigError, Device};

/// Why a model file cannot be opened, or an engine cannot be built from it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not even one block fits into the cache.
    #[error(
        "kv_bytes_max is {found}, expected at least {block_bytes}, the bytes of one cache block"
    )]
    CacheTooSmall {
        /// The setting.
        found: u64,
        /// Bytes of one block over all layers.
        block_bytes: u64,
    },
    /// A setting out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No GPU can be used.
    #[error("device `cuda` cannot be used: {0}; use `cpu` or `auto`")]
    Cuda(#[from] OpenError),
    /// A device that this build has no engine for.
    #[error(
        "device `{device}` cannot be used: this build has no {engine} engine; use `cpu` or `auto`"
    )]
    Device {
        /// The setting.
        device: Device,
        /// The engine's name.
        engine: &'static str,
    },
    /// A type that no weights can have here.
    #[error("`{found}` is no type of weights; there are {supported}")]
    ElementType {
        /// What was asked for.
        found: String,
        /// The names that would do.
        supported: String,
    },
    /// The file, or the model in it.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl From<BackendError> for LoadError {
    fn from(error: BackendError) -> Self {
        Self::Model(error.into())
    }
}

impl From<GgufError> for LoadError {
    fn from(error: GgufError) -> Self {
        Self::Model(error.into())
    }
}
