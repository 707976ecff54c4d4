//! The scheduler core as an actor: what comes in is told to the core, what it decides goes out.
//!
//! Every message ends in [`SchedulerActor::advance`]: plan while the pipeline has room, hand the
//! plans to the engine first, and only then tell the hubs what happened, so that the engine never
//! waits for the fan-out. It never waits and holds no lock across anything but a copy.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use actix::{Actor, Addr, AsyncContext, Context, Handler, Recipient, SpawnHandle};
use crossbeam_channel::{Sender, TrySendError};
use engine_contract::EngineError;
use runtime_core::{
    Limits, Rejected, Request, Scheduler, TenantSnapshot, Tenants, Tick, Update, Updates,
};

use crate::bomb::Bomb;
use crate::clock::{Clock, between, micros};
use crate::engine::{EngineActor, Incarnation};
use crate::lifecycle::LifecycleActor;
use crate::message::{
    Cancel, Census, Deliver, Drain, Drained, EngineFailed, EngineReady, HubId, Join, Launch,
    SetTenants, StepCompleted, Submit,
};
use crate::open::OpenRequests;
use crate::telemetry::Telemetry;
use crate::{Config, Refused};

/// What the scheduler actor is made of.
pub(crate) struct Parts {
    /// Limits come from here, once the engine's sizes are known.
    pub(crate) config: Arc<Config>,
    /// The runtime's clock.
    pub(crate) clock: Clock,
    /// Where counts go.
    pub(crate) telemetry: Arc<Telemetry>,
    /// Who is told that an engine hangs.
    pub(crate) engine: Addr<EngineActor>,
    /// Who is told that nothing is open.
    pub(crate) lifecycle: Addr<LifecycleActor>,
}

/// Owns the core.
pub(crate) struct SchedulerActor {
    parts: Parts,
    /// Made when the first engine is ready; survives every engine.
    core: Option<Scheduler>,
    /// What the core was made with.
    limits: Option<Limits>,
    /// The table that the core has, or is to have.
    tenants: Tenants,
    engine: Option<Engine>,
    hubs: HashMap<HubId, Recipient<Deliver>>,
    open: OpenRequests,
    /// Recycled as soon as no hub reads it.
    updates: Arc<Updates>,
    timer: Option<Timer>,
    drain: Draining,
    _bomb: Bomb,
}

/// The engine that plans go to.
struct Engine {
    incarnation: Incarnation,
    plans: Sender<Launch>,
}

/// The one timer, for the core's next deadline.
struct Timer {
    due: Tick,
    handle: SpawnHandle,
}

/// Whether a drain was asked for and answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Draining {
    Answered,
    Asked,
    No,
}

impl SchedulerActor {
    /// A scheduler without an engine; it refuses until it gets one.
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            parts,
            core: None,
            limits: None,
            tenants: Tenants::default(),
            engine: None,
            hubs: HashMap::new(),
            open: OpenRequests::default(),
            updates: Arc::default(),
            timer: None,
            drain: Draining::No,
            _bomb: Bomb::new("the scheduler actor"),
        }
    }

    /// Everything that follows from a change; `runnable` is when the change happened.
    fn advance(&mut self, runnable: Tick, now: Tick, ctx: &mut Context<Self>) {
        self.plan(runnable, now);
        self.fan_out();
        if let Some(core) = &self.core {
            self.parts.telemetry.publish(core.snapshot());
        }
        self.arm(now, ctx);
        self.answer_drain();
    }

    fn plan(&mut self, runnable: Tick, now: Tick) {
        let (Some(core), Some(engine)) = (&mut self.core, &self.engine) else { return };
        let telemetry = &self.parts.telemetry;
        while let Some(plan) = core.plan(now) {
            self.open.planned(&plan, now, &telemetry.requests);
            telemetry.steps.plan(&plan);
            match engine.plans.try_send(Launch { plan, runnable }) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    panic!("the core plans no more than the pipeline holds")
                }
                // The engine is dead, and its own report is on the way.
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }

    fn fan_out(&mut self) {
        let Some(core) = &mut self.core else { return };
        if Arc::get_mut(&mut self.updates).is_none() {
            self.updates = Arc::default();
        }
        let updates = Arc::get_mut(&mut self.updates).expect("nobody else has a fresh one");
        core.poll_updates(updates);
        self.open.updated(updates, &self.parts.telemetry.requests);
        for (hub, entries) in by_hub(&self.updates) {
            if let Some(to) = self.hubs.get(&hub) {
                to.do_send(Deliver { updates: Arc::clone(&self.updates), entries });
            }
        }
    }

    /// Sees to it that the core's next deadline is met. A timer that is already due earlier stays:
    /// it looks again when it fires, which is cheaper than a new one at each step.
    fn arm(&mut self, now: Tick, ctx: &mut Context<Self>) {
        let Some(due) = self.core.as_ref().and_then(Scheduler::next_deadline) else { return };
        if self.timer.as_ref().is_some_and(|timer| timer.due <= due) {
            return;
        }
        let handle = ctx.run_later(between(now, due), Self::on_timer);
        if let Some(later) = self.timer.replace(Timer { due, handle }) {
            ctx.cancel_future(later.handle);
        }
    }

    fn on_timer(&mut self, ctx: &mut Context<Self>) {
        self.timer = None;
        let now = self.parts.clock.now();
        let hung = self.core.as_mut().and_then(|core| core.tick(now));
        if let (Some(error), Some(engine)) = (hung, &self.engine) {
            let incarnation = engine.incarnation;
            self.parts.engine.do_send(EngineFailed { incarnation, error: error.clone() });
            self.fail(&error, now);
        }
        self.advance(now, now, ctx);
    }

    /// Parts with the engine; dropping its plan sender ends its launcher.
    fn fail(&mut self, error: &EngineError, now: Tick) {
        self.engine = None;
        if let Some(core) = &mut self.core {
            core.fail(error, now);
        }
    }

    fn answer_drain(&mut self) {
        if self.drain == Draining::Asked && self.core.as_ref().is_none_or(Scheduler::is_quiet) {
            self.drain = Draining::Answered;
            self.engine = None;
            self.parts.lifecycle.do_send(Drained {});
        }
    }

    /// Whether a request is taken, as the core and the engine's state have it.
    fn judge(&mut self, request: Request, now: Tick) -> Result<(), Refused> {
        if self.drain != Draining::No {
            return Err(Refused::Rejected(Rejected::Draining));
        }
        let (Some(core), Some(_)) = (&mut self.core, &self.engine) else {
            return Err(Refused::Unavailable);
        };
        core.submit(request, now)?;
        Ok(())
    }
}

impl Actor for SchedulerActor {
    type Context = Context<Self>;
}

impl Handler<Join> for SchedulerActor {
    type Result = ();

    fn handle(&mut self, join: Join, _ctx: &mut Self::Context) {
        self.hubs.insert(join.hub, join.to);
    }
}

impl Handler<EngineReady> for SchedulerActor {
    type Result = ();

    fn handle(&mut self, ready: EngineReady, ctx: &mut Self::Context) {
        if self.drain == Draining::Answered {
            // Dropping the plan sender is what ends the engine.
            return;
        }
        let now = self.parts.clock.now();
        let EngineReady { incarnation, info, plans } = ready;
        let limits = self.parts.config.limits(&info);
        // An engine of other sizes needs another core. Nothing is lost with the old one: the
        // failure that ended its engine has ended every request.
        if self.limits.replace(limits) != Some(limits) {
            tracing::info!(?limits, "the scheduler's limits are set");
            let mut core = Scheduler::new(limits);
            core.set_tenants(&self.tenants);
            self.core = Some(core);
        }
        self.engine = Some(Engine { incarnation, plans });
        self.advance(now, now, ctx);
    }
}

impl Handler<EngineFailed> for SchedulerActor {
    type Result = ();

    fn handle(&mut self, failed: EngineFailed, ctx: &mut Self::Context) {
        // An engine that this actor itself found hanging is gone from here already.
        if self.engine.as_ref().is_some_and(|engine| engine.incarnation == failed.incarnation) {
            let now = self.parts.clock.now();
            self.fail(&failed.error, now);
            self.advance(now, now, ctx);
        }
    }
}

impl Handler<Submit> for SchedulerActor {
    type Result = ();

    fn handle(&mut self, submit: Submit, ctx: &mut Self::Context) {
        let Submit { request, place, begun, called, submitted, verdict } = submit;
        if verdict.is_closed() {
            // The client left while this waited in the mailbox.
            return;
        }
        let now = self.parts.clock.now();
        let (id, num_tokens) = (request.id, request.prompt.len());
        let judged = self.judge(request, now);
        let taken = judged.is_ok();
        if taken {
            self.parts.telemetry.requests.prompt_tokens.inc_by(num_tokens as u64);
            place.record().metrics.prompt(u32::try_from(num_tokens).unwrap_or(u32::MAX));
            self.open.enter(id, called, place, begun);
        }
        // A client that leaves at this very moment is cancelled by its session.
        let _ = verdict.send(judged);
        if taken {
            self.advance(submitted, now, ctx);
        }
    }
}

impl Handler<SetTenants> for SchedulerActor {
    type Result = ();

    fn handle(&mut self, set: SetTenants, ctx: &mut Self::Context) {
        self.tenants = set.tenants;
        if let Some(core) = &mut self.core {
            core.set_tenants(&self.tenants);
        }
        // Bounds that are wider now may let somebody go on.
        let now = self.parts.clock.now();
        self.advance(now, now, ctx);
    }
}

impl Handler<Census> for SchedulerActor {
    type Result = Vec<TenantSnapshot>;

    fn handle(&mut self, _census: Census, _ctx: &mut Self::Context) -> Self::Result {
        self.core.iter().flat_map(Scheduler::tenants).collect()
    }
}

impl Handler<Cancel> for SchedulerActor {
    type Result = ();

    fn handle(&mut self, cancel: Cancel, ctx: &mut Self::Context) {
        let Cancel { id, cause } = cancel;
        let Some(core) = &mut self.core else { return };
        self.open.cancelled(id, cause, &self.parts.telemetry.requests);
        core.cancel(id, cause);
        let now = self.parts.clock.now();
        self.advance(now, now, ctx);
    }
}

impl Handler<StepCompleted> for SchedulerActor {
    type Result = ();

    fn handle(&mut self, completed: StepCompleted, ctx: &mut Self::Context) {
        let StepCompleted { incarnation, output, timing } = completed;
        let current = self.engine.as_ref().is_some_and(|engine| engine.incarnation == incarnation);
        let (true, Some(core)) = (current, &mut self.core) else { return };
        let now = self.parts.clock.now();
        core.measure(micros(timing.duration()));
        core.complete(&output, now);
        self.parts.telemetry.steps.complete(&timing);
        self.advance(timing.ended, now, ctx);
    }
}

impl Handler<Drain> for SchedulerActor {
    type Result = ();

    fn handle(&mut self, drain: Drain, ctx: &mut Self::Context) {
        if self.drain == Draining::No {
            self.drain = Draining::Asked;
        }
        let now = self.parts.clock.now();
        if let Some(core) = &mut self.core {
            core.drain(drain.deadline);
        }
        self.advance(now, now, ctx);
    }
}

/// Splits sorted updates into those of each hub.
fn by_hub(updates: &Updates) -> impl Iterator<Item = (HubId, Range<usize>)> {
    let same_hub = |a: &Update, b: &Update| HubId::of(a.id) == HubId::of(b.id);
    let mut start = 0;
    updates.entries.chunk_by(same_hub).map(move |entries| {
        let range = start..start + entries.len();
        start = range.end;
        (HubId::of(entries[0].id), range)
    })
}
