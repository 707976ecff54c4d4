//! All channels and addresses: both ends are made here, once, with their bounds.
//!
//! Everything that goes by `do_send` is queued even in a full mailbox, so a mailbox's size matters
//! only for what goes by `try_send`; the sizes say what is expected to be there.

use std::sync::{Arc, OnceLock};

use actix::dev::channel::{AddressReceiver, channel};
use actix::{Actor, Addr, Arbiter, Context};
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use crate::clock::Clock;
use crate::engine::{self, EngineActor, Launched};
use crate::lifecycle::{self, Facts, LifecycleActor, Status};
use crate::message::Launch;
use crate::placement;
use crate::scheduler::{self, SchedulerActor};
use crate::telemetry::Telemetry;
use crate::tenancy::Directory;
use crate::tokenizer::TokenizerActor;
use crate::{Config, ExecutorFactory, Model, UsageSink};

/// Every end that the outside of the actors holds.
pub(crate) struct Wires {
    pub(crate) config: Arc<Config>,
    pub(crate) model: Arc<Model>,
    pub(crate) clock: Clock,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) directory: Arc<Directory>,
    /// Who keeps the books, once somebody does.
    pub(crate) usage: OnceLock<UsageSink>,
    pub(crate) facts: Arc<Mutex<Facts>>,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) scheduler: Addr<SchedulerActor>,
    pub(crate) lifecycle: Addr<LifecycleActor>,
    pub(crate) encoders: Addr<TokenizerActor>,
    /// Places for prompts that wait to be encoded.
    pub(crate) encode_places: Arc<Semaphore>,
}

/// Makes every long-lived actor and starts it where it belongs.
pub(crate) fn start(config: Config, model: Model, factory: ExecutorFactory) -> Wires {
    let (config, model) = (Arc::new(config), Arc::new(model));
    let clock = Clock::start();
    let directory = Arc::new(Directory::new());
    let telemetry = Arc::new(Telemetry::new(&model.card.id, Arc::clone(&directory)));
    let facts = Arc::new(Mutex::new(Facts::default()));
    let (status_in, status) = watch::channel(Status::Starting);
    let control = Arbiter::new();
    let (scheduler, scheduler_mailbox) = mailbox(SCHEDULER_MAILBOX);
    let (engine, engine_mailbox) = mailbox(ENGINE_MAILBOX);
    let (lifecycle, lifecycle_mailbox) = mailbox(LIFECYCLE_MAILBOX);

    let scheduler_actor = SchedulerActor::new(scheduler::Parts {
        config: Arc::clone(&config),
        clock,
        telemetry: Arc::clone(&telemetry),
        engine: engine.clone(),
        lifecycle: lifecycle.clone(),
    });
    let engine_actor = EngineActor::new(engine::Parts {
        factory,
        pipeline_depth: config.pipeline_depth,
        failure: config.failure,
        clock,
        scheduler: scheduler.clone(),
        lifecycle: lifecycle.clone(),
    });
    control.spawn_fn(move || {
        run(scheduler_actor, scheduler_mailbox);
        run(engine_actor, engine_mailbox);
    });
    let lifecycle_actor = LifecycleActor::new(lifecycle::Parts {
        drain_timeout: config.drain_timeout(),
        clock,
        telemetry: Arc::clone(&telemetry),
        facts: Arc::clone(&facts),
        status: status_in,
        scheduler: scheduler.clone(),
        engine,
        control,
    });
    run(lifecycle_actor, lifecycle_mailbox);

    let encoder = {
        let model = Arc::clone(&model);
        move || TokenizerActor::new(Arc::clone(&model))
    };
    let encoders = placement::text_threads(config.encode_threads, encoder);
    // As many as may wait for their first step afterwards.
    let encode_places = Arc::new(Semaphore::new(config.waiting_max as usize));
    Wires {
        config,
        model,
        clock,
        telemetry,
        directory,
        usage: OnceLock::new(),
        facts,
        status,
        scheduler,
        lifecycle,
        encoders,
        encode_places,
    }
}

/// The channels of one engine; a new engine gets new ones.
pub(crate) struct EngineChannels {
    /// Held by the scheduler; dropping it ends the engine.
    pub(crate) plans_in: Sender<Launch>,
    pub(crate) plans_out: Receiver<Launch>,
    pub(crate) tickets_in: Sender<Launched>,
    pub(crate) tickets_out: Receiver<Launched>,
}

/// Makes the channels of one engine.
pub(crate) fn engine_channels(pipeline_depth: u32) -> EngineChannels {
    let depth = pipeline_depth as usize;
    // The core has never more steps planned and not completed, so a full channel is a bug.
    let (plans_in, plans_out) = bounded(depth);
    // Steps in flight; the launcher never waits here, for the same reason.
    let (tickets_in, tickets_out) = bounded(depth);
    EngineChannels { plans_in, plans_out, tickets_in, tickets_out }
}

fn mailbox<A: Actor<Context = Context<A>>>(size: usize) -> (Addr<A>, AddressReceiver<A>) {
    let (sender, receiver) = channel(size);
    (Addr::new(sender), receiver)
}

fn run<A: Actor<Context = Context<A>>>(actor: A, mailbox: AddressReceiver<A>) {
    Context::with_receiver(mailbox).run(actor);
}

/// Only the fuse: the real bound on requests is the core's. `Submit` alone is refused when it
/// blows, and then the control thread is far behind.
const SCHEDULER_MAILBOX: usize = 4_096;
/// Reports of two threads, and orders of one actor.
const ENGINE_MAILBOX: usize = 16;
/// Reports of two actors, and what signals ask for.
const LIFECYCLE_MAILBOX: usize = 16;
/// A message a step, and two for each request that comes and goes meanwhile.
pub(crate) const HUB_MAILBOX: usize = 1_024;
/// A message a step, which the hub sends only after it has drained its own mailbox.
pub(crate) const SESSION_MAILBOX: usize = 16;
