//! The trait that an engine implements: one call a step.

use alloc::boxed::Box;

use crate::{EngineError, EngineInfo, StepOutput, StepPlan};

/// Runs steps in the order they are launched.
///
/// Built on the thread that will own it, and never moved from there. The caller keeps these
/// promises, and an executor may assert them: rows stay within [`EngineInfo::rows_max`] and
/// [`EngineInfo::step_tokens_max`], a seat's first row is [`crate::TableChange::Fresh`], tables
/// cover the positions computed, and a block is reused only after every step that named it has
/// ended.
pub trait Executor {
    /// The sizes of this engine.
    fn info(&self) -> &EngineInfo;

    /// Enqueues one step. On a device with a queue of its own this returns at once; on the CPU the
    /// step runs here, and the ticket is ready when it comes back.
    ///
    /// # Errors
    /// Only if the engine is beyond use.
    fn launch(&mut self, plan: StepPlan) -> Result<Box<dyn Ticket>, EngineError>;
}

/// A launched step. Owns the buffers that its result lands in, and may be waited for on another
/// thread.
pub trait Ticket: Send {
    /// Blocks until the step has ended.
    ///
    /// # Errors
    /// Only if the engine is beyond use.
    fn wait(self: Box<Self>) -> Result<StepOutput, EngineError>;
}
