//! The seam between what a model computes and what computes it.
//!
//! [`Backend`] is about twenty fused, LLM-sized operations over buffers that the caller owns.
//! Nothing at step time allocates, returns a buffer or waits: that is what lets a device capture a
//! step as a graph, lets memory be counted once, and lets every operation be compared with its CPU
//! definition. The host side of a step is prepared once, as a [`StepLayout`]; operations only read
//! it.
//!
//! No device is named here, and no model, request or scheduler is known. Start reading at
//! [`Backend`].

mod backend;
mod dtype;
mod error;
mod layout;
mod memory;
pub mod noise;
mod rank;
mod shape;

pub use backend::{Backend, Drawn, Event, Logprobs};
pub use dtype::{DType, Source, Tensor};
pub use error::BackendError;
pub use layout::{
    BIASES_MAX, Bias, Draw, Inherit, LOGPROBS_MAX, Penalties, Said, Sample, Span, StepLayout, Tally,
};
pub use memory::DeviceMemory;
pub use noise::Noise;
pub use rank::Rank;
pub use shape::{
    Activation, AttentionShape, CacheShape, ExpertInput, Heads, Rope, RopePairs, Router,
};
