//! The actix shell: actors that carry the scheduler's decisions between sockets and the engine.
//!
//! The scheduler core decides, actors here carry. Arbiters never block; the engine's threads never
//! touch actix but to send. It knows no model, no device, no HTTP and no JSON. Start reading at
//! [`Runtime`] for how everything starts, at `message` for who says what to whom, at `placement`
//! for which thread hosts whom.

mod bomb;
mod clock;
mod config;
mod engine;
mod generate;
mod handle;
mod hub;
mod lifecycle;
mod message;
mod open;
mod outbox;
mod placement;
mod scheduler;
mod session;
mod telemetry;
mod tenancy;
mod tokenizer;
mod transcript;
mod usage;
mod wiring;
mod worker;

use std::error::Error;
use std::sync::Arc;

use engine_contract::Executor;

pub use clock::micros;
pub use config::{Config, ConfigError, FailurePolicy};
pub use generate::{
    Delta, Encoding, Ends, Failure, FinishReason, Generate, Kept, NamedLogprob, Prompt, RateLimit,
    Refused, Shown, Terms, TokenLogprobs, Usage,
};
pub use handle::{Handle, Model, ModelCard, Runtime};
pub use lifecycle::Status;
pub use runtime_core::{Limits, QueueBound, Rejected, Snapshot};
pub use runtime_text::{Conversation, Ending, Message};
pub use telemetry::Telemetry;
pub use tenancy::{
    Caller, DEFAULT_TENANT, KeyHash, KeyHashError, Rates, Reading, Standing, Tenancy,
    TenancyChanges, TenancyError, Tenant, Timeouts,
};
pub use usage::{UsageRecord, UsageSink};
pub use worker::{Generation, Worker};

/// Builds an executor, on the thread that will own it; again for each engine that replaces a failed
/// one.
pub type ExecutorFactory =
    Arc<dyn Fn() -> Result<Box<dyn Executor>, Box<dyn Error + Send + Sync>> + Send + Sync>;
