//! The whole server over real sockets, with an engine that has no model.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod client;
mod harness;
mod logprobs;

mod disconnect;
mod drain;
mod engine_death;
mod ops;
mod overload;
mod refusals;
mod slow_reader;
mod transcript;
