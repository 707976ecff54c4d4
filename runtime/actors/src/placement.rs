//! Which thread hosts whom.
//!
//! | thread | hosts |
//! | --- | --- |
//! | the arbiter that calls `Runtime::start` | LifecycleActor |
//! | an arbiter of its own, "control" | SchedulerActor, EngineActor |
//! | each HTTP worker's arbiter | one HubActor and all its SessionActors |
//! | `text-N` | TokenizerActor |
//! | `engine-launch`, `engine-collect` | the executor; its tickets |
//!
//! actix drains a mailbox without yielding, so nobody but the engine's keeper shares an arbiter
//! with the scheduler.

use std::io;
use std::thread::{Builder, JoinHandle};

use actix::{Actor, Addr, SyncArbiter, SyncContext};

/// The two threads of one engine.
pub(crate) struct Threads {
    launch: JoinHandle<()>,
    collect: JoinHandle<()>,
}

/// Starts the threads of one engine.
///
/// # Errors
/// The system's, when it has no thread left. What has started ends by itself, since its channels
/// do.
pub(crate) fn engine_threads(
    launch: impl FnOnce() + Send + 'static,
    collect: impl FnOnce() + Send + 'static,
) -> io::Result<Threads> {
    let collect = Builder::new().name("engine-collect".into()).spawn(collect)?;
    let launch = Builder::new().name("engine-launch".into()).spawn(launch)?;
    Ok(Threads { launch, collect })
}

/// Waits for both threads on a third one, which calls `then`.
///
/// # Errors
/// The system's, when it has no thread left.
pub(crate) fn join(threads: Threads, then: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let wait = move || {
        // Both catch their panics and report them; there is nothing to learn here.
        let _ = threads.launch.join();
        let _ = threads.collect.join();
        then();
    };
    Builder::new().name("engine-join".into()).spawn(wait).map(drop)
}

/// Starts `threads` threads that share the work of one actor.
pub(crate) fn text_threads<A>(
    threads: usize,
    actor: impl Fn() -> A + Send + Sync + 'static,
) -> Addr<A>
where
    A: Actor<Context = SyncContext<A>>,
{
    let mut number = 0;
    let name = move || {
        number += 1;
        Builder::new().name(format!("text-{}", number - 1))
    };
    SyncArbiter::start_with_thread_builder(threads, name, actor)
}
