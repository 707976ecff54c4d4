//! The life of the engine: its two threads, and what happens when they fail.
//!
//! ```text
//! Idle ──build──► Building ──ready──► Serving ──failed──► Joining ──joined──► Building (restart)
//!                    │ failed                                 └─ too late: given up ──┘
//!                    └────────► Down ◄───── failed, and policy is exit, or the device is lost
//! ```
//!
//! The actor never waits: a thread that joins threads reports back. An engine whose step hangs
//! cannot be joined. Under [`FailurePolicy::Restart`] its threads are given up knowingly: they hold
//! their memory until the step returns, if ever, and end then, since their channels are closed. One
//! such loss is an accident; after [`GIVEN_UP_MAX`] the process had better be started anew, and at
//! once where the engine holds a device that its successor would need.

mod collector;
mod launcher;

use std::any::Any;
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context, Handler};
use engine_contract::EngineError;

use crate::bomb::Bomb;
use crate::clock::Clock;
use crate::lifecycle::{EXIT_ENGINE_FAILED, EXIT_NEVER_SERVED, LifecycleActor};
use crate::message::{
    BuildFailed, EngineFailed, EngineGone, EngineReady, EngineRestarts, EngineServes,
    EngineStopped, Joined, Retire, Stop,
};
use crate::placement::{self, Threads};
use crate::scheduler::SchedulerActor;
use crate::{ExecutorFactory, FailurePolicy, wiring};

use collector::Collector;
use launcher::Launcher;

pub(crate) use launcher::Launched;

/// Counts the engines of this process, so that a report of one that is gone is not taken for its
/// successor's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Incarnation(u32);

/// What the engine actor is made of.
pub(crate) struct Parts {
    /// Builds an executor, on the thread that will own it.
    pub(crate) factory: ExecutorFactory,
    /// Steps in flight at most.
    pub(crate) pipeline_depth: u32,
    /// What follows a failure.
    pub(crate) failure: FailurePolicy,
    /// The runtime's clock.
    pub(crate) clock: Clock,
    /// Who plans.
    pub(crate) scheduler: Addr<SchedulerActor>,
    /// Who decides whether the process goes on.
    pub(crate) lifecycle: Addr<LifecycleActor>,
}

/// Owns the engine's threads.
pub(crate) struct EngineActor {
    parts: Parts,
    incarnation: Incarnation,
    life: Life,
    ending: Ending,
    num_given_up: u32,
    has_served: bool,
    /// Whether another engine can be built while this one hangs.
    can_be_abandoned: bool,
    _bomb: Bomb,
}

/// Where the engine is in its life.
enum Life {
    /// The launcher builds its executor.
    Building(Threads),
    /// No engine, and none will come.
    Down,
    /// The threads are being joined.
    Joining,
    /// Plans are served.
    Serving(Threads),
}

/// How far the lifecycle has taken leave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Not at all.
    No,
    /// This engine is the last one.
    Retired,
    /// It waits for the threads to end.
    Stopping,
}

impl EngineActor {
    /// An actor that builds its first engine when it starts.
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            parts,
            incarnation: Incarnation::default(),
            life: Life::Down,
            ending: Ending::No,
            num_given_up: 0,
            has_served: false,
            can_be_abandoned: true,
            _bomb: Bomb::new("the engine actor"),
        }
    }

    fn build(&mut self, ctx: &Context<Self>) {
        self.incarnation = Incarnation(self.incarnation.0 + 1);
        let ends = wiring::engine_channels(self.parts.pipeline_depth);
        let launcher = Launcher {
            incarnation: self.incarnation,
            factory: self.parts.factory.clone(),
            clock: self.parts.clock,
            engine: ctx.address(),
            plans_in: ends.plans_in,
            plans_out: ends.plans_out,
            tickets: ends.tickets_in,
        };
        let collector = Collector {
            incarnation: self.incarnation,
            clock: self.parts.clock,
            engine: ctx.address(),
            scheduler: self.parts.scheduler.clone(),
            tickets: ends.tickets_out,
        };
        match placement::engine_threads(|| launcher.run(), || collector.run()) {
            Ok(threads) => self.life = Life::Building(threads),
            Err(error) => self.gone(&format!("the engine's threads did not start: {error}")),
        }
    }

    /// Lets a thread wait for the engine's threads; `Joined` comes back.
    fn join(&mut self, threads: Threads, ctx: &mut Context<Self>) {
        self.life = Life::Joining;
        let joined = Joined { incarnation: self.incarnation };
        let me = ctx.address();
        if let Err(error) = placement::join(threads, move || me.do_send(joined)) {
            self.gone(&format!("the engine's threads could not be joined: {error}"));
            return;
        }
        let incarnation = self.incarnation;
        ctx.run_later(JOIN_TIMEOUT, move |this, ctx| {
            if this.incarnation == incarnation && matches!(this.life, Life::Joining) {
                this.give_up(ctx);
            }
        });
    }

    /// Goes on without threads that do not end.
    fn give_up(&mut self, ctx: &Context<Self>) {
        self.num_given_up += 1;
        tracing::warn!(
            given_up = self.num_given_up,
            "the engine's threads do not end; they are left alone, with the memory they hold"
        );
        if self.num_given_up > GIVEN_UP_MAX && self.ending == Ending::No {
            self.gone("the engine hung again and again");
        } else {
            self.after_join(ctx);
        }
    }

    fn after_join(&mut self, ctx: &Context<Self>) {
        self.life = Life::Down;
        match self.ending {
            Ending::No => self.build(ctx),
            Ending::Retired => {}
            Ending::Stopping => self.parts.lifecycle.do_send(EngineStopped {}),
        }
    }

    fn gone(&mut self, error: &str) {
        self.life = Life::Down;
        let exit_code = if self.has_served { EXIT_ENGINE_FAILED } else { EXIT_NEVER_SERVED };
        self.parts.lifecycle.do_send(EngineGone { exit_code, error: error.to_owned() });
    }

    /// The threads, if there are any; the caller says what becomes of them.
    fn take_threads(&mut self) -> Option<Threads> {
        match std::mem::replace(&mut self.life, Life::Down) {
            Life::Building(threads) | Life::Serving(threads) => Some(threads),
            other @ (Life::Down | Life::Joining) => {
                self.life = other;
                None
            }
        }
    }
}

impl Actor for EngineActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.build(ctx);
    }
}

impl Handler<EngineReady> for EngineActor {
    type Result = ();

    fn handle(&mut self, ready: EngineReady, _ctx: &mut Self::Context) {
        if ready.incarnation != self.incarnation {
            return;
        }
        // Not while stopping: the plans dropped here end the threads.
        if let Some(threads) = self.take_threads() {
            self.life = Life::Serving(threads);
            self.has_served = true;
            self.can_be_abandoned = ready.info.can_be_abandoned;
            let info = ready.info;
            tracing::info!(incarnation = self.incarnation.0, ?info, "the engine is ready");
            // In this order: whoever sees the new status finds a scheduler that has its engine.
            self.parts.scheduler.do_send(ready);
            self.parts.lifecycle.do_send(EngineServes { info });
        }
    }
}

impl Handler<EngineFailed> for EngineActor {
    type Result = ();

    fn handle(&mut self, failed: EngineFailed, ctx: &mut Self::Context) {
        if failed.incarnation != self.incarnation {
            return;
        }
        // The second thread of a failed engine may report as well; the first report is acted upon.
        let Some(threads) = self.take_threads() else { return };
        let error = failed.error.clone();
        tracing::error!(incarnation = self.incarnation.0, %error, "the engine failed");
        self.parts.scheduler.do_send(failed);
        let hangs = error == EngineError::TimedOut && !self.can_be_abandoned;
        if self.parts.failure == FailurePolicy::Exit || hangs || !error.is_restartable() {
            self.gone(&error.to_string());
            return;
        }
        if self.ending == Ending::No {
            self.parts.lifecycle.do_send(EngineRestarts { error: error.to_string() });
        }
        match error {
            EngineError::TimedOut => self.give_up(ctx),
            EngineError::Device(_) | EngineError::Lost(_) | EngineError::Panicked(_) => {
                self.join(threads, ctx);
            }
        }
    }
}

impl Handler<BuildFailed> for EngineActor {
    type Result = ();

    fn handle(&mut self, failed: BuildFailed, _ctx: &mut Self::Context) {
        if failed.incarnation == self.incarnation && self.ending != Ending::Stopping {
            self.gone(&failed.error);
        }
    }
}

impl Handler<Joined> for EngineActor {
    type Result = ();

    fn handle(&mut self, joined: Joined, ctx: &mut Self::Context) {
        if joined.incarnation == self.incarnation && matches!(self.life, Life::Joining) {
            self.after_join(ctx);
        }
    }
}

impl Handler<Retire> for EngineActor {
    type Result = ();

    fn handle(&mut self, _retire: Retire, _ctx: &mut Self::Context) {
        if self.ending == Ending::No {
            self.ending = Ending::Retired;
        }
    }
}

impl Handler<Stop> for EngineActor {
    type Result = ();

    fn handle(&mut self, _stop: Stop, ctx: &mut Self::Context) {
        self.ending = Ending::Stopping;
        match std::mem::replace(&mut self.life, Life::Down) {
            Life::Serving(threads) => self.join(threads, ctx),
            Life::Joining => self.life = Life::Joining,
            // Loading cannot be interrupted, and nobody waits for what it loads.
            Life::Building(_) | Life::Down => self.parts.lifecycle.do_send(EngineStopped {}),
        }
    }
}

/// The text of a panic.
fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without text".to_owned())
}

/// How long threads of an engine that failed, or that is to stop, may take to end.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Engines that may be left hanging before the process ends.
const GIVEN_UP_MAX: u32 = 2;
