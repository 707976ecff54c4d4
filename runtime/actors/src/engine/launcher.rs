//! The thread that owns the executor: receives a plan, launches it, hands its ticket on.
//!
//! It ends when the plan sender is dropped, or with one report when the executor fails. It blocks
//! on receiving a plan; on the CPU it computes the step as well.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use actix::Addr;
use crossbeam_channel::{Receiver, Sender};
use engine_contract::{EngineError, Executor, Ticket};
use runtime_core::Tick;

use super::{EngineActor, Incarnation, panic_text};
use crate::ExecutorFactory;
use crate::clock::Clock;
use crate::message::{BuildFailed, EngineFailed, EngineReady, Launch};

/// A step that the executor has accepted.
pub(crate) struct Launched {
    /// Its result, sooner or later.
    pub(super) ticket: Box<dyn Ticket>,
    /// When what made it plannable happened.
    pub(super) runnable: Tick,
    /// When it was handed to the executor.
    pub(super) launched: Tick,
}

/// What the thread works with.
pub(super) struct Launcher {
    pub(super) incarnation: Incarnation,
    pub(super) factory: ExecutorFactory,
    pub(super) clock: Clock,
    pub(super) engine: Addr<EngineActor>,
    /// Given away once the executor is built; until then nobody can send a plan.
    pub(super) plans_in: Sender<Launch>,
    pub(super) plans_out: Receiver<Launch>,
    pub(super) tickets: Sender<Launched>,
}

impl Launcher {
    /// The whole life of the thread.
    pub(super) fn run(self) {
        let Self { incarnation, factory, clock, engine, plans_in, plans_out, tickets } = self;
        let mut executor = match build(&factory) {
            Ok(executor) => executor,
            Err(error) => return engine.do_send(BuildFailed { incarnation, error }),
        };
        let info = *executor.info();
        engine.do_send(EngineReady { incarnation, info, plans: plans_in });
        let serving = catch_unwind(AssertUnwindSafe(move || {
            let result = serve(&mut *executor, &plans_out, &tickets, clock);
            drop(executor);
            result
        }));
        let error = match serving {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(payload) => EngineError::Panicked(panic_text(&*payload)),
        };
        engine.do_send(EngineFailed { incarnation, error });
    }
}

fn build(factory: &ExecutorFactory) -> Result<Box<dyn Executor>, String> {
    match catch_unwind(AssertUnwindSafe(|| factory())) {
        Ok(Ok(executor)) => Ok(executor),
        Ok(Err(error)) => Err(with_causes(&*error)),
        Err(payload) => Err(format!("loading panicked: {}", panic_text(&*payload))),
    }
}

fn serve(
    executor: &mut dyn Executor,
    plans: &Receiver<Launch>,
    tickets: &Sender<Launched>,
    clock: Clock,
) -> Result<(), EngineError> {
    for Launch { plan, runnable } in plans {
        let launched = clock.now();
        let ticket = executor.launch(plan)?;
        if tickets.send(Launched { ticket, runnable, launched }).is_err() {
            // The collector has failed, and said so.
            break;
        }
    }
    Ok(())
}

fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
