//! Where weights come from: files, what they claim to hold, and what of it is believed.
//!
//! [`Gguf`] opens a file and checks it as a whole; nothing in here knows an architecture.

mod cursor;
mod element;
mod error;
mod gguf;
mod map;
mod metadata;
mod tensor;
mod value;

pub use element::ElementType;
pub use error::{GgufError, Name, Section};
pub use gguf::{Gguf, Header};
pub use map::Mapped;
pub use metadata::Metadata;
pub use tensor::TensorInfo;
pub use value::Strings;
