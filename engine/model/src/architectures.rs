//! One file for each architecture, and those for what several share.

pub(crate) mod dense;
pub(crate) mod gemma3;
pub(crate) mod llama;
pub(crate) mod mixture;
mod names;
pub(crate) mod qwen2;
pub(crate) mod qwen2_moe;
pub(crate) mod qwen3;
pub(crate) mod qwen3_moe;
