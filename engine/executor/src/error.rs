//! Why an engine cannot be built.

use std::path::PathBuf;

use engine_backend::BackendError;
use engine_cuda::OpenError;
use engine_model::{GgufError, ModelError};

use crate::ConfigError;
use crate::budget::Bytes;

/// Why a model file cannot be opened, or an engine cannot be built from it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The cache leaves no room on the device.
    #[error(
        "a cache of {} does not fit: {budget}; kv_bytes_max = {most} would fit, for {positions} \
         positions, and kv_bytes_max = 0 takes what is left",
        Bytes(*cache)
    )]
    CacheTooLarge {
        /// Bytes of the cache.
        cache: u64,
        /// Most bytes that it could have.
        most: u64,
        /// Positions that it would have then.
        positions: u64,
        /// What else takes memory, and how much there is.
        budget: String,
    },
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
    Cuda(OpenError),
    /// The file of what steps take is not one.
    #[error("costs {}: {reason}", path.display())]
    Costs {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A type that no weights can have here.
    #[error("`{found}` is no type of weights; there are {supported}")]
    ElementType {
        /// What was asked for.
        found: String,
        /// The names that would do.
        supported: String,
    },
    /// Only a GPU keeps weights in the type that was asked for.
    #[error("weight_type is fp8, which needs a GPU: {reason}; use `auto`")]
    WeightType {
        /// Why there is none.
        reason: String,
    },
    /// More GPUs are asked for than there are.
    #[error("gpus is {found}, expected at most {there}, which this machine has, or 0 for all")]
    Gpus {
        /// The setting.
        found: usize,
        /// How many there are.
        there: usize,
    },
    /// The file, or the model in it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// What one of several ranks cannot do.
    #[error("rank {rank} of {of}: {reason}")]
    Rank {
        /// Counted from 0 on.
        rank: usize,
        /// How many there are.
        of: usize,
        /// Why.
        reason: Box<Self>,
    },
    /// The thread of one of several ranks ended by itself.
    #[error("the thread of a rank panicked while the engine was built")]
    RankPanicked,
    /// The model cannot be cut into as many parts.
    #[error("the model cannot be shared by {of} devices: {reason}")]
    Share {
        /// How many there are.
        of: usize,
        /// What cannot be cut.
        reason: ModelError,
    },
    /// The weights leave no room on the device.
    #[error("the model does not fit: {budget}; {advice}")]
    TooLarge {
        /// What takes memory, and how much there is.
        budget: String,
        /// What would fit.
        advice: String,
    },
}

impl From<OpenError> for LoadError {
    fn from(error: OpenError) -> Self {
        Self::Cuda(error)
    }
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
