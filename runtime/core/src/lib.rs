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
mod deadlines;
mod flight;
mod forecast;
mod kv;
mod latency;
mod laws;
mod ledger;
mod limits;
mod pace;
mod planning;
mod preemption;
mod prefill;
mod prices;
mod queue;
mod request;
mod roster;
mod scheduler;
mod sequence;
mod service;
mod snapshot;
mod tenant;
mod update;
mod work;

pub use limits::{Limits, PrefixCache, Pricing};
pub use request::{CancelCause, QueueBound, Rejected, Request, RequestId, Terms, Tick};
pub use scheduler::Scheduler;
pub use service::{Costs, Counter};
pub use snapshot::{Position, Snapshot, TenantSnapshot};
pub use tenant::{Priority, Tenant, TenantError, TenantId, Tenants};
pub use update::{Deadline, End, Finish, Update, Updates};
