//! Checkpoints of several files, in any format, that nobody vouches for.

mod config;
mod damage;
mod folder;
mod parts;
mod random;
mod safetensors;
mod tiny;
#[path = "../gguf/writer.rs"]
mod writer;
