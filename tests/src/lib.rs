//! What the tests of several crates share. Nothing depends on it.

pub mod bytes;
pub mod demo_model;
pub mod fake;
