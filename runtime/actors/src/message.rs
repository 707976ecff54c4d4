//! Every message of every actor. Whatever can wake an actor can be read here.
//!
//! Everything that must arrive goes by `do_send`, which always queues. [`Submit`] alone goes by
//! `try_send`, so that a scheduler that cannot keep up refuses instead of growing, and [`Census`]
//! by `send`, for as long as a scrape waits. Mailbox sizes and their reasons are in
//! [`crate::wiring`].

use std::ops::Range;
use std::sync::Arc;

use actix::{Addr, Message, Recipient};
use crossbeam_channel::Sender;
use engine_contract::{EngineError, EngineInfo, StepOutput, StepPlan, TokenId};
use runtime_core::{CancelCause, Request, RequestId, TenantSnapshot, Tenants, Tick, Updates};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::engine::Incarnation;
use crate::open::Begun;
use crate::session::SessionActor;
use crate::telemetry::StepTiming;
use crate::tenancy::Place;
use crate::{Encoding, Prompt, Refused};

/// Declares messages: a struct, and what its handler answers.
macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $name:ident -> $result:ty { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }
    )*) => {$(
        $(#[$doc])*
        pub(crate) struct $name { $($(#[$field_doc])* pub(crate) $field: $type,)* }

        impl Message for $name {
            type Result = $result;
        }
    )*};
}

/// Names a worker's hub in the top bits of its requests' ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HubId(u16);

impl HubId {
    const SHIFT: u32 = 48;

    /// The hub of this number.
    pub(crate) fn new(number: u16) -> Self {
        Self(number)
    }

    /// The hub that minted this id.
    pub(crate) fn of(id: RequestId) -> Self {
        Self(u16::try_from(id.0 >> Self::SHIFT).expect("sixteen bits are left"))
    }

    /// The id of this hub's request of this serial number.
    pub(crate) fn mint(self, serial: u64) -> RequestId {
        assert!(serial < 1 << Self::SHIFT, "a hub's serials fit below its number");
        RequestId(u64::from(self.0) << Self::SHIFT | serial)
    }
}

/// One step on its way to the engine.
pub(crate) struct Launch {
    /// What to compute.
    pub(crate) plan: StepPlan,
    /// When what made it plannable happened.
    pub(crate) runnable: Tick,
}

messages! {
    /// Worker → SchedulerActor, before anything else from that worker: where its updates go.
    Join -> () {
        /// The hub's number.
        hub: HubId,
        /// The hub.
        to: Recipient<Deliver>,
    }

    /// Worker → TokenizerActor: encode a long prompt.
    Encode -> Result<Arc<[TokenId]>, Refused> {
        /// The prompt.
        prompt: Prompt,
        /// How.
        encoding: Encoding,
        /// Its place among the prompts that may wait here; given back when it is encoded.
        place: OwnedSemaphorePermit,
    }

    /// Worker → SchedulerActor, by `try_send`: a new request.
    Submit -> () {
        /// The request.
        request: Request,
        /// Its place among those of its tenant that wait.
        place: Place,
        /// Where to say that it has begun.
        begun: Arc<Begun>,
        /// When the client's call came in.
        called: Tick,
        /// When it was submitted.
        submitted: Tick,
        /// Whether it was taken.
        verdict: oneshot::Sender<Result<(), Refused>>,
    }

    /// Handle → SchedulerActor, before anybody can ask under it: another table of tenants.
    SetTenants -> () {
        /// The table.
        tenants: Tenants,
    }

    /// Handle → SchedulerActor, at a scrape: what each tenant has.
    Census -> Vec<TenantSnapshot> {}

    /// SessionActor → SchedulerActor: end a request from outside. Ids already ended are ignored.
    Cancel -> () {
        /// Whom.
        id: RequestId,
        /// Why.
        cause: CancelCause,
    }

    /// Collector → SchedulerActor: a step has ended.
    StepCompleted -> () {
        /// Of which engine.
        incarnation: Incarnation,
        /// What it produced.
        output: StepOutput,
        /// What it took.
        timing: StepTiming,
    }

    /// Launcher → EngineActor → SchedulerActor: an engine is built.
    EngineReady -> () {
        /// Which.
        incarnation: Incarnation,
        /// Its sizes.
        info: EngineInfo,
        /// Where its plans go; dropping it ends the engine.
        plans: Sender<Launch>,
    }

    /// Launcher, collector, SchedulerActor → EngineActor → SchedulerActor: an engine is beyond use.
    EngineFailed -> () {
        /// Which.
        incarnation: Incarnation,
        /// Why.
        error: EngineError,
    }

    /// Launcher → EngineActor: an engine could not be built.
    BuildFailed -> () {
        /// Which.
        incarnation: Incarnation,
        /// Why, with its causes.
        error: String,
    }

    /// Whoever joined the threads of an engine → EngineActor.
    Joined -> () {
        /// Of which engine.
        incarnation: Incarnation,
    }

    /// EngineActor → LifecycleActor: an engine serves.
    EngineServes -> () {
        /// Its sizes.
        info: EngineInfo,
    }

    /// EngineActor → LifecycleActor: the engine failed, and another one is being built.
    EngineRestarts -> () {
        /// Why.
        error: String,
    }

    /// EngineActor → LifecycleActor: no engine will serve again.
    EngineGone -> () {
        /// What the process should say to its parent.
        exit_code: u8,
        /// Why.
        error: String,
    }

    /// EngineActor → LifecycleActor: the threads have ended.
    EngineStopped -> () {}

    /// SchedulerActor → HubActor, one per hub per step: what its sessions hear.
    Deliver -> () {
        /// The updates of all hubs.
        updates: Arc<Updates>,
        /// Which of them are this hub's.
        entries: Range<usize>,
    }

    /// Worker → HubActor: a session has started.
    Enter -> () {
        /// Its request.
        id: RequestId,
        /// The session.
        session: Addr<SessionActor>,
    }

    /// SessionActor → HubActor: it has stopped.
    Leave -> () {
        /// Its request.
        id: RequestId,
    }

    /// HubActor → SessionActor: one update.
    Hear -> () {
        /// All updates of the step.
        updates: Arc<Updates>,
        /// Which of them is this session's.
        entry: usize,
    }

    /// HubActor → SessionActor, now and then: look whether the reader has stalled.
    Sweep -> () {
        /// The moment of the sweep.
        now: Tick,
    }

    /// Whoever held the generation → SessionActor: it is dropped.
    ClientGone -> () {
        /// Whether the scheduler has refused it, so that nothing has ended.
        was_refused: bool,
    }

    /// Handle → LifecycleActor: finish what is open, take nothing new.
    BeginDrain -> () {}

    /// Handle → LifecycleActor: stop without waiting for what is open.
    StopNow -> () {}

    /// LifecycleActor → SchedulerActor: finish what is open, take nothing new.
    Drain -> () {
        /// When what is still open is cancelled.
        deadline: Tick,
    }

    /// SchedulerActor → LifecycleActor: nothing is open.
    Drained -> () {}

    /// LifecycleActor → EngineActor: if this engine fails, build no other one.
    Retire -> () {}

    /// LifecycleActor → EngineActor: end the threads.
    Stop -> () {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_hub_and_sorts_by_it() {
        let (low, high) = (HubId::new(1), HubId::new(u16::MAX));
        assert_eq!(HubId::of(high.mint(0)), high);
        assert_eq!(HubId::of(low.mint((1 << 48) - 1)), low);
        assert!(low.mint((1 << 48) - 1) < high.mint(0));
    }
}
