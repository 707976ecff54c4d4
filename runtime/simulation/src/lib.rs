//! A day of requests in seconds: the scheduler core, an engine that is a table of times, and
//! virtual time.
//!
//! [`Trace`] says who asks for what and when; [`run`] lets the real scheduler serve it on an engine
//! whose steps take what an [`engine_sim::CostModel`] says, and [`Report`] tells what came of it.
//! No clock is read and nothing is left to chance that a trace's seed does not decide: the same
//! trace and setting give the same report, bit for bit.

mod histogram;
mod report;
pub mod trace;
mod world;

pub use report::{Quantiles, Report, TenantReport};
pub use runtime_core::TenantId;
pub use trace::{Trace, TraceError};
pub use world::{Order, Served, Setting, Slo, run};
