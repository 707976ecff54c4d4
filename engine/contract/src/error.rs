//! Why an engine cannot go on.

use alloc::string::String;
use core::fmt;

/// An engine that failed is beyond use: every step in flight is lost, and only building a new one
/// helps. What concerns one sequence alone is an [`crate::Outcome`], not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineError {
    /// The device reported an error; the text is the device's own.
    Device(String),
    /// The engine's own thread panicked; the text is the panic's.
    Panicked(String),
    /// A step took longer than allowed.
    TimedOut,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(text) => write!(f, "device error: {text}"),
            Self::Panicked(text) => write!(f, "engine thread panicked: {text}"),
            Self::TimedOut => f.write_str("step exceeded its time limit"),
        }
    }
}

impl core::error::Error for EngineError {}
