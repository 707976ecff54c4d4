//! Where weights come from: files, what they claim to hold, and what of it is believed.
//!
//! [`Gguf`] opens a file and checks it as a whole; nothing in here knows an architecture.

mod config;
mod cursor;
mod element;
mod error;
mod facts;
mod fault;
mod gguf;
mod json;
mod map;
mod metadata;
mod shape;
mod tensor;
mod value;

pub use config::Config;
pub use element::ElementType;
pub use error::{GgufError, Name, Section};
pub use facts::Facts;
pub use fault::{Fault, FileError};
pub use gguf::{Gguf, Header};
pub use map::Mapped;
pub use metadata::Metadata;
pub use shape::Shape;
pub use tensor::TensorInfo;
pub use value::Strings;
