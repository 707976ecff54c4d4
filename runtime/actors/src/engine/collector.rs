//! The thread that waits for launched steps, in order, and reports each.
//!
//! It ends when the launcher has dropped its end and every ticket is answered. It blocks on a
//! step's end, and launches nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use actix::Addr;
use crossbeam_channel::Receiver;
use engine_contract::EngineError;
use runtime_core::Tick;

use super::launcher::Launched;
use super::{EngineActor, Incarnation, panic_text};
use crate::clock::Clock;
use crate::message::{EngineFailed, StepCompleted};
use crate::scheduler::SchedulerActor;
use crate::telemetry::StepTiming;

/// What the thread works with.
pub(super) struct Collector {
    pub(super) incarnation: Incarnation,
    pub(super) clock: Clock,
    pub(super) engine: Addr<EngineActor>,
    pub(super) scheduler: Addr<SchedulerActor>,
    pub(super) tickets: Receiver<Launched>,
}

impl Collector {
    /// The whole life of the thread.
    pub(super) fn run(self) {
        let error = match catch_unwind(AssertUnwindSafe(|| self.collect())) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(payload) => EngineError::Panicked(panic_text(&*payload)),
        };
        self.engine.do_send(EngineFailed { incarnation: self.incarnation, error });
    }

    fn collect(&self) -> Result<(), EngineError> {
        let mut before_ended = Tick::default();
        for Launched { ticket, runnable, launched } in &self.tickets {
            let output = ticket.wait()?;
            let ended = self.clock.now();
            let timing = StepTiming { runnable, before_ended, launched, ended, gap: output.gap };
            before_ended = ended;
            let incarnation = self.incarnation;
            self.scheduler.do_send(StepCompleted { incarnation, output, timing });
        }
        Ok(())
    }
}
