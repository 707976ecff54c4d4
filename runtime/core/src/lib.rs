//! Who runs next, and how everybody hears of it.
//!
//! [`Scheduler`] decides what each step computes and owes every request exactly one end. It is pure
//! and deterministic: no clock, thread, I/O, randomness or log; time and results come in as
//! arguments, decisions go out as values, and the same calls give the same plans. The crate is
//! `no_std`, so the compiler holds it to that. Start reading at [`Scheduler`].

#![no_std]

extern crate alloc;

mod admission;
mod arena;
mod budget;
mod flight;
mod kv;
mod laws;
mod ledger;
mod limits;
mod planning;
mod queue;
mod request;
mod scheduler;
mod sequence;
mod update;

pub use limits::{Limits, PrefixCache};
pub use request::{CancelCause, Rejected, Request, RequestId, Tick};
pub use scheduler::{Scheduler, Snapshot};
pub use update::{End, Finish, Update, Updates};
