//! The edge: HTTP in, server-sent events out.
//!
//! Speaks OpenAI's wire format for [`runtime`]: reads a request, refuses what it cannot honour by
//! name, and streams what the runtime says. Knows no scheduler, no engine and no model; it is the
//! only crate that knows JSON. Dropping what a handler or a response body holds is how a request is
//! cancelled, so nothing here spawns a task that would keep one alive.

mod access;
mod config;
mod credential;
mod gate;
mod openai;
mod ops;
mod rate_limit;
mod request_id;
mod server;
mod sse;

pub use config::{Config, ConfigError};
pub use ops::reload::{ReloadAnswer, Reloader};
pub use server::bind;
