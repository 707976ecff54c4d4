//! What a model's numbers mean: from a weights file to a decoder that runs on a backend.
//!
//! [`Checkpoint`] reads files and believes nothing in them. [`Blueprint`] asks the checkpoint's
//! architecture, which is data, what the model looks like and whether every weight is there.
//! [`Decoder`] is the one generic decoder over an [`engine_backend::Backend`].
//!
//! No request, no device and no cache lifetime is known here, and nothing is allocated at step
//! time. Start reading at [`spec`] and [`Decoder`].

mod architecture;
mod architectures;
mod block;
mod blueprint;
mod checkpoint;
mod decoder;
mod error;
mod keys;
mod loader;
mod place;
mod placement;
mod rope;
mod share;
pub mod spec;
mod weights;

pub use architecture::Architecture;
pub use blueprint::Blueprint;
pub use checkpoint::{Bytes, Checkpoint};
pub use decoder::Decoder;
pub use error::ModelError;
pub use placement::Wanted;
pub use spec::DecoderSpec;
pub use weights::{
    Config, ElementType, Facts, Fault, FileError, GgufError, Header, Metadata, Name, Section,
    Shape, Strings, TensorInfo, parse_safetensors,
};
