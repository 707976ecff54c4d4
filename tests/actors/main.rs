//! The actors around a fake engine: every way a request can go, and what is left behind.
//!
//! Nothing here sleeps: a test holds the engine's steps and lets them go, and polls what the
//! runtime publishes.

#![expect(clippy::unwrap_used, reason = "a test that unwraps in vain has failed")]

mod cancel;
mod drain;
mod failure;
mod generate;
mod world;
