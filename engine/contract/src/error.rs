//! Why an engine cannot go on.

use alloc::string::String;
use core::fmt;

/// An engine that failed is beyond use: every step in flight is lost, and only building a new one
/// helps, if it can be built in this process at all. What concerns one sequence alone is an
/// [`crate::Outcome`], not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineError {
    /// The device reported an error; the text is the device's own.
    Device(String),
    /// The device is lost to this process, and no engine can be built on it here; the text is the
    /// device's own.
    Lost(String),
    /// The engine's own thread panicked; the text is the panic's.
    Panicked(String),
    /// A step took longer than allowed.
    TimedOut,
}

impl EngineError {
    /// Whether another engine can be built in this process.
    #[must_use]
    pub const fn is_restartable(&self) -> bool {
        match self {
            Self::Device(_) | Self::Panicked(_) | Self::TimedOut => true,
            Self::Lost(_) => false,
        }
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(text) => write!(f, "device error: {text}"),
            Self::Lost(text) => write!(f, "the device is lost to this process: {text}"),
            Self::Panicked(text) => write!(f, "engine thread panicked: {text}"),
            Self::TimedOut => f.write_str("step exceeded its time limit"),
        }
    }
}

impl core::error::Error for EngineError {}
