//! The contract between whoever decides what a step computes and whoever computes it.
//!
//! Plain data both sides speak, and one trait, [`Executor`]. A [`StepPlan`] goes down, a
//! [`StepOutput`] comes back; nothing else crosses. There is no logic here, nothing is
//! serialisable, and no tensor, request or actor is known. Start reading at [`plan`].
//!
//! The crate is `no_std`, as is the scheduler core on top of it: neither can reach a clock, a
//! thread or a file, and the compiler is the one who says so.

#![no_std]

extern crate alloc;

mod error;
mod executor;
mod id;
mod info;
pub mod output;
pub mod plan;
mod sampling;

pub use error::EngineError;
pub use executor::{Executor, Ticket};
pub use id::{BlockId, SeatId, SequenceId, StepId, TokenId};
pub use info::EngineInfo;
pub use output::{Logprob, Logprobs, Outcome, Sampled, StepOutput};
pub use plan::{Row, RowTokens, StepPlan, Stop, TableChange};
pub use sampling::{BIASES_MAX, Bias, LOGPROBS_MAX, Sampling};
