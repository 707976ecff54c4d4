//! The actix shell: actors that carry the scheduler's decisions between sockets and the engine.
//!
//! The scheduler core decides, actors here carry. Arbiters never block; the engine's threads never
//! touch actix but to send. It knows no model, no device, no HTTP and no JSON. Start reading at
//! [`Runtime`] for how everything starts, at `message` for who says what to whom.

mod generate;

pub use generate::{
    Delta, Ends, Failure, FinishReason, Generate, Prompt, Refused, Usage,
};
