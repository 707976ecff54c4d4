//! The whole server over real sockets, with an engine that has no model.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod client;
mod deadlines;
mod harness;
mod logprobs;

mod disconnect;
mod drain;
mod engine_death;
mod fields;
mod keys;
mod ops;
mod overload;
mod rates;
mod refusals;
mod reload;
mod slow_reader;
mod transcript;
mod usage;
