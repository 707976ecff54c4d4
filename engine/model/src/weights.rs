//! Where weights come from: files, what they claim to hold, and what of it is believed.
//!
//! [`Header`] is what a GGUF file says, [`parse_safetensors`] reads what a safetensors file says,
//! [`Config`] is a `config.json`; each is checked as a whole, and so is what several files say
//! together. Nothing in here knows an architecture.

mod config;
mod cursor;
mod element;
mod error;
mod facts;
mod fault;
mod files;
mod folder;
mod gguf;
mod json;
mod map;
mod metadata;
mod parts;
mod random;
mod safetensors;
mod shape;
mod tensor;
mod value;

pub use config::Config;
pub use element::ElementType;
pub use error::{GgufError, Name, Section};
pub use facts::Facts;
pub use fault::{Fault, FileError};
pub(crate) use files::Files;
pub(crate) use folder::open_folder;
pub use gguf::Header;
pub(crate) use map::Mapped;
pub use metadata::Metadata;
pub(crate) use parts::Parts;
pub(crate) use random::{Fill, Random};
pub use safetensors::parse_safetensors;
pub use shape::Shape;
pub use tensor::TensorInfo;
pub use value::Strings;
