//! The sessions of one worker: passes on what the scheduler delivers, and sweeps for stalled
//! readers.
//!
//! One message a step comes in from another thread, however many of this worker's requests were in
//! it; what goes on to the sessions stays on this thread.

use std::collections::HashMap;
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context, Handler};
use runtime_core::RequestId;

use crate::clock::Clock;
use crate::message::{Deliver, Enter, Hear, Leave, Sweep};
use crate::session::SessionActor;
use crate::wiring::HUB_MAILBOX;

/// Knows every session of its worker.
pub(crate) struct HubActor {
    clock: Clock,
    sweep_every: Duration,
    sessions: HashMap<RequestId, Addr<SessionActor>>,
}

impl HubActor {
    /// A hub without sessions.
    pub(crate) fn new(clock: Clock, stall_timeout: Duration) -> Self {
        // An eighth of the timeout is as late as a stall may be noticed.
        let sweep_every = (stall_timeout / 8).clamp(SWEEP_MIN, SWEEP_MAX);
        Self { clock, sweep_every, sessions: HashMap::new() }
    }

    fn sweep(&self) {
        let now = self.clock.now();
        for session in self.sessions.values() {
            session.do_send(Sweep { now });
        }
    }
}

impl Actor for HubActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(HUB_MAILBOX);
        ctx.run_interval(self.sweep_every, |this, _ctx| this.sweep());
    }
}

impl Handler<Enter> for HubActor {
    type Result = ();

    fn handle(&mut self, enter: Enter, _ctx: &mut Self::Context) {
        self.sessions.insert(enter.id, enter.session);
    }
}

impl Handler<Leave> for HubActor {
    type Result = ();

    fn handle(&mut self, leave: Leave, _ctx: &mut Self::Context) {
        self.sessions.remove(&leave.id);
    }
}

impl Handler<Deliver> for HubActor {
    type Result = ();

    fn handle(&mut self, deliver: Deliver, _ctx: &mut Self::Context) {
        let Deliver { updates, entries } = deliver;
        for entry in entries {
            // A session that is gone has cancelled its request; what was under way is for nobody.
            if let Some(session) = self.sessions.get(&updates.entries[entry].id) {
                session.do_send(Hear { updates: updates.clone(), entry });
            }
        }
    }
}

/// A sweep costs a message per session; more often than this serves nobody.
const SWEEP_MIN: Duration = Duration::from_millis(10);

/// Long timeouts are still noticed within a second.
const SWEEP_MAX: Duration = Duration::from_secs(1);
