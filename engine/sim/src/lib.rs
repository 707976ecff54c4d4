//! The simulated engine: made-up tokens, after the time that steps were measured to take.
//!
//! [`CostModel`] is a file of measurements: what a step takes on some device with some model.
//! [`SimExecutor`] takes as long without computing anything, for tests of everything above the
//! engine at thousands of streams; a simulation in virtual time reads the model alone. Nothing here
//! knows weights, requests or actors.

mod costs;
mod executor;

pub use costs::{CostError, CostModel};
pub use executor::{SimExecutor, Sizes, Speed};
