//! Whether the runtime takes work, and when the process may end.
//!
//! ```text
//! Starting ──engine ready──► Serving ──drain──► Draining ──nothing open──► Stopped
//!     │                      │     ▲                 └── or too late ──────────┘
//!     │               failed ▼     │ rebuilt                                   │
//!     │                      Failed ────────── for good, answers out ─────────►│
//!     └──────────────────────── cannot be built ──────────────────────────────►┘
//! ```
//!
//! A drain asks the scheduler first, and ends the engine's threads only when nothing is open. Every
//! way to `Stopped` has a bound in time.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, AsyncContext, Context, Handler};
use engine_contract::EngineInfo;
use parking_lot::Mutex;
use runtime_core::Tick;
use tokio::sync::watch;

use crate::clock::{Clock, after, between};
use crate::engine::EngineActor;
use crate::message::{
    BeginDrain, Drain, Drained, EngineGone, EngineRestarts, EngineServes, EngineStopped, Retire,
    Stop, StopNow,
};
use crate::scheduler::SchedulerActor;
use crate::telemetry::Telemetry;

/// What a runtime is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Finishing what is open, taking nothing new.
    Draining,
    /// The engine failed. Another one is being built, or the runtime is about to stop.
    Failed,
    /// Taking requests.
    Serving,
    /// The first engine is being built.
    Starting,
    /// Over. The exit code says how it went.
    Stopped,
}

/// What is known about the runtime besides its status; read seldom.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Set before the status becomes `Stopped`.
    pub(crate) exit_code: Option<u8>,
    /// The engine's last failure, or why it never came up.
    pub(crate) failure: Option<String>,
    /// The sizes of the last engine that was built.
    pub(crate) engine: Option<EngineInfo>,
}

/// What the lifecycle actor is made of.
pub(crate) struct Parts {
    /// How long a drain may take.
    pub(crate) drain_timeout: Duration,
    /// The runtime's clock.
    pub(crate) clock: Clock,
    /// Where open streams are counted.
    pub(crate) telemetry: Arc<Telemetry>,
    /// What others may read.
    pub(crate) facts: Arc<Mutex<Facts>>,
    /// Whom others wait on.
    pub(crate) status: watch::Sender<Status>,
    /// Who finishes what is open.
    pub(crate) scheduler: Addr<SchedulerActor>,
    /// Who ends the threads.
    pub(crate) engine: Addr<EngineActor>,
    /// Where both of them live.
    pub(crate) control: Arbiter,
}

/// Decides when the process may end.
pub(crate) struct LifecycleActor {
    parts: Parts,
    /// What the process will say to its parent.
    exit_code: u8,
}

impl LifecycleActor {
    /// A runtime whose first engine is being built.
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts, exit_code: EXIT_DRAINED }
    }

    fn status(&self) -> Status {
        *self.parts.status.borrow()
    }

    fn enter(&self, status: Status) {
        tracing::info!(?status, "the runtime's status changed");
        self.parts.status.send_replace(status);
    }

    fn begin_drain(&self, deadline: Tick, limit: Duration, ctx: &mut Context<Self>) {
        if self.status() != Status::Draining {
            self.enter(Status::Draining);
        }
        self.parts.engine.do_send(Retire {});
        self.parts.scheduler.do_send(Drain { deadline });
        ctx.run_later(limit, |this, _ctx| {
            if this.status() != Status::Stopped {
                tracing::warn!("the engine did not come to rest in time; the runtime stops anyway");
                this.stop();
            }
        });
    }

    fn stop_when_answered(&self, since: Tick, ctx: &mut Context<Self>) {
        let waited = between(since, self.parts.clock.now());
        if self.parts.telemetry.requests.streams_open.get() == 0 || waited >= ANSWERS_TIMEOUT {
            self.stop();
        } else {
            ctx.run_later(ANSWERS_POLL, move |this, ctx| this.stop_when_answered(since, ctx));
        }
    }

    fn stop(&self) {
        if self.status() != Status::Stopped {
            self.parts.facts.lock().exit_code = Some(self.exit_code);
            self.enter(Status::Stopped);
            self.parts.control.stop();
        }
    }
}

impl Actor for LifecycleActor {
    type Context = Context<Self>;
}

impl Handler<EngineServes> for LifecycleActor {
    type Result = ();

    fn handle(&mut self, serves: EngineServes, _ctx: &mut Self::Context) {
        self.parts.facts.lock().engine = Some(serves.info);
        match self.status() {
            Status::Failed | Status::Starting => self.enter(Status::Serving),
            Status::Draining | Status::Serving | Status::Stopped => {}
        }
    }
}

impl Handler<EngineRestarts> for LifecycleActor {
    type Result = ();

    fn handle(&mut self, restarts: EngineRestarts, _ctx: &mut Self::Context) {
        self.parts.telemetry.steps.restarts.inc();
        self.parts.facts.lock().failure = Some(restarts.error);
        if self.status() == Status::Serving {
            self.enter(Status::Failed);
        }
    }
}

impl Handler<EngineGone> for LifecycleActor {
    type Result = ();

    fn handle(&mut self, gone: EngineGone, ctx: &mut Self::Context) {
        tracing::error!(
            error = gone.error,
            exit_code = gone.exit_code,
            "no engine will serve again"
        );
        self.exit_code = gone.exit_code;
        self.parts.facts.lock().failure = Some(gone.error);
        if self.status() != Status::Stopped {
            self.enter(Status::Failed);
            self.stop_when_answered(self.parts.clock.now(), ctx);
        }
    }
}

impl Handler<BeginDrain> for LifecycleActor {
    type Result = ();

    fn handle(&mut self, _drain: BeginDrain, ctx: &mut Self::Context) {
        match self.status() {
            // A second call changes nothing: the first one's deadline holds.
            Status::Draining | Status::Stopped => {}
            Status::Failed | Status::Serving | Status::Starting => {
                let deadline = after(self.parts.clock.now(), self.parts.drain_timeout);
                self.begin_drain(deadline, self.parts.drain_timeout + DRAIN_GRACE, ctx);
            }
        }
    }
}

impl Handler<StopNow> for LifecycleActor {
    type Result = ();

    fn handle(&mut self, _stop: StopNow, ctx: &mut Self::Context) {
        if self.status() != Status::Stopped {
            self.begin_drain(self.parts.clock.now(), STOP_NOW_GRACE, ctx);
        }
    }
}

impl Handler<Drained> for LifecycleActor {
    type Result = ();

    fn handle(&mut self, _drained: Drained, _ctx: &mut Self::Context) {
        self.parts.engine.do_send(Stop {});
    }
}

impl Handler<EngineStopped> for LifecycleActor {
    type Result = ();

    fn handle(&mut self, _stopped: EngineStopped, _ctx: &mut Self::Context) {
        self.stop();
    }
}

/// Exit code of a runtime that was told to stop.
pub(crate) const EXIT_DRAINED: u8 = 0;
/// Exit code of a runtime whose first engine could not be built.
pub(crate) const EXIT_NEVER_SERVED: u8 = 1;
/// Exit code of a runtime whose engine failed for good.
pub(crate) const EXIT_ENGINE_FAILED: u8 = 70;
/// Exit code of a process in which an actor panicked that everything depends on.
pub(crate) const EXIT_ACTOR_PANICKED: u8 = 71;

/// How long answers may take to get out after the engine failed for good.
const ANSWERS_TIMEOUT: Duration = Duration::from_secs(2);
/// How often that is looked at.
const ANSWERS_POLL: Duration = Duration::from_millis(10);
/// How long after a drain's deadline the last steps may take to end.
const DRAIN_GRACE: Duration = Duration::from_secs(2);
/// The same, when nothing is to be waited for.
const STOP_NOW_GRACE: Duration = Duration::from_millis(500);
