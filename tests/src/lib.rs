//! What the tests of several crates share. Nothing depends on it.

pub mod bytes;
pub mod fake;
