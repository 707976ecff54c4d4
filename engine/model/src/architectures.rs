//! One file for each architecture, and one for what several share.

mod dense;
pub(crate) mod llama;
pub(crate) mod qwen2;
pub(crate) mod qwen3;
