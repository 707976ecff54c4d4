//! A front end's way in: one per arbiter.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix::dev::SendError;
use actix::{Actor, Addr};
use engine_contract::{Sampling, TokenId};
use futures_core::Stream;
use runtime_core::{Priority, QueueBound, Rejected, Request, RequestId, Tick};
use tokio::sync::oneshot;

use crate::clock::after;
use crate::handle::Handle;
use crate::hub::HubActor;
use crate::lifecycle::Status;
use crate::message::{ClientGone, Encode, Enter, HubId, Join, Submit};
use crate::open::Begun;
use crate::outbox::{Outlet, outbox};
use crate::session::{self, Bill, SessionActor};
use crate::tenancy::{Charge, Place};
use crate::tokenizer::{encode, text_bytes};
use crate::{Caller, Delta, Encoding, Ends, Generate, Kept, Prompt, Refused, Shown, Terms};

/// Generates on the arbiter that it was made on. Copies are the same worker.
#[derive(Clone)]
pub struct Worker {
    inner: Rc<Inner>,
}

struct Inner {
    handle: Handle,
    hub: Addr<HubActor>,
    hub_id: HubId,
    num_requests: Cell<u64>,
}

/// One output as it comes: any number of [`Delta::Text`], then [`Delta::End`] or [`Delta::Failed`],
/// then nothing.
///
/// # Cancel safety
/// Dropping it before its end was taken cancels the request; afterwards it does nothing.
pub struct Generation {
    outlet: Outlet,
    prompt: Arc<[TokenId]>,
    guard: CancelOnDrop,
}

/// Tells the session that nobody listens any more. A session that has ended only goes.
struct CancelOnDrop {
    session: Addr<SessionActor>,
    was_refused: bool,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.session.do_send(ClientGone { was_refused: self.was_refused });
    }
}

/// A request that the scheduler has not answered yet.
struct Submitted {
    generation: Generation,
    verdict: oneshot::Receiver<Result<(), Refused>>,
}

impl Worker {
    /// Starts the hub on this arbiter and makes it known, before any of its requests can be.
    pub(crate) fn start(handle: Handle, hub_id: HubId) -> Self {
        let wires = handle.wires();
        let hub = HubActor::new(wires.clock, wires.config.stall_timeout()).start();
        wires.scheduler.do_send(Join { hub: hub_id, to: hub.clone().recipient() });
        Self { inner: Rc::new(Inner { handle, hub, hub_id, num_requests: Cell::new(0) }) }
    }

    /// Continues a prompt. Comes back when the scheduler has taken the request.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request, however far it has come.
    ///
    /// # Errors
    /// Why the request was not taken; nothing is owed then.
    pub fn generate(
        &self,
        generate: Generate,
    ) -> impl Future<Output = Result<Generation, Refused>> + use<> {
        let inner = Rc::clone(&self.inner);
        async move {
            let caller = generate.terms.caller.clone().or_else(|| inner.handle.caller(None));
            let result = match &caller {
                Some(caller) => inner.generate(generate, caller).await,
                None => Err(Refused::UnknownCaller),
            };
            if let Err(refused) = &result {
                inner.handle.wires().telemetry.requests.refuse(refused);
                if let Some(caller) = &caller {
                    caller.member().record.metrics.refuse(refused);
                }
            }
            result
        }
    }
}

impl Inner {
    async fn generate(&self, generate: Generate, caller: &Caller) -> Result<Generation, Refused> {
        let called = self.handle.wires().clock.now();
        self.check_open()?;
        let wires = self.handle.wires();
        let place = Place::take(caller.member(), wires.config.rows_max)?;
        let mut charge = Charge::of_request(caller.member(), wires.clock)?;
        let Generate { prompt, sampling, max_tokens, min_tokens, stop_tokens, ends, terms, .. } =
            generate;
        let prompt = self.encode(prompt, self.fitting(generate.encoding, max_tokens)).await?;
        self.check_tokens(&prompt, &sampling)?;
        // Who names no limit pays for what comes when it has come.
        let asked = max_tokens.map_or(0, |asked| self.max_tokens(Some(asked), prompt.len()));
        charge.reserve(prompt.len() as u64 + u64::from(asked))?;
        let tenant = Arc::clone(&caller.member().record);
        let request = Request {
            id: self.mint(),
            max_tokens: self.max_tokens(max_tokens, prompt.len()),
            prompt,
            min_tokens,
            stop_tokens: self.stop_tokens(stop_tokens, ends),
            sampling: Arc::new(sampling),
            // Otherwise how fast a prompt is would tell a tenant whether another has asked it.
            salt: tenant.id.0.into(),
            terms: terms_of(&terms, caller, called),
        };
        charge.submitted();
        let begun = Arc::new(Begun::never());
        let sink = wires.usage.get().cloned();
        let bill = Bill { name: terms.name, tenant, charge, begun, sink };
        let Submitted { generation, verdict } =
            self.submit(request, (generate.stop, generate.shown), (called, place), bill)?;
        // A scheduler that drops the question is stopping.
        match verdict.await.unwrap_or(Err(Refused::Unavailable)) {
            Ok(()) => Ok(generation),
            Err(refused) => Err(generation.refuse(refused)),
        }
    }

    /// What can be refused before anything is encoded.
    fn check_open(&self) -> Result<(), Refused> {
        match self.handle.status() {
            Status::Serving => {}
            Status::Draining => return Err(Rejected::Draining.into()),
            Status::Failed | Status::Starting | Status::Stopped => {
                return Err(Refused::Unavailable);
            }
        }
        let waiting = self.handle.snapshot().waiting;
        if waiting >= self.handle.wires().config.waiting_max {
            return Err(self.full(waiting));
        }
        Ok(())
    }

    /// The queue is full before the scheduler is asked.
    fn full(&self, waiting: u32) -> Refused {
        let bound = QueueBound::Requests(self.handle.wires().config.waiting_max);
        let retry_after_us = self.handle.snapshot().retry_after_us;
        Rejected::QueueFull { waiting, bound, retry_after_us }.into()
    }

    /// The same, with how many tokens fit beside the output, if that is what counts.
    fn fitting(&self, encoding: Encoding, max_tokens: Option<u32>) -> Encoding {
        match (encoding.kept, self.handle.engine_info()) {
            (Kept::Fitting, Some(info)) => {
                let room = info.context.saturating_sub(max_tokens.unwrap_or(1)).max(1);
                Encoding { kept: Kept::Last(room), ..encoding }
            }
            _ => encoding,
        }
    }

    async fn encode(&self, prompt: Prompt, encoding: Encoding) -> Result<Arc<[TokenId]>, Refused> {
        let wires = self.handle.wires();
        if text_bytes(&prompt) <= wires.config.encode_inline_bytes_max {
            return encode(&wires.model, &prompt, encoding);
        }
        let Ok(place) = Arc::clone(&wires.encode_places).try_acquire_owned() else {
            return Err(self.full(wires.config.waiting_max));
        };
        let encoding = wires.encoders.send(Encode { prompt, encoding, place });
        encoding.await.unwrap_or(Err(Refused::Unavailable))
    }

    /// The engine reads its tables at these places, whoever named them.
    fn check_tokens(&self, prompt: &[TokenId], sampling: &Sampling) -> Result<(), Refused> {
        let info = self.handle.engine_info().ok_or(Refused::Unavailable)?;
        let biased = sampling.biases.iter().map(|bias| &bias.token);
        match prompt.iter().chain(biased).find(|token| token.0 >= info.vocab) {
            Some(token) => Err(Refused::UnknownToken { token: token.0, vocab: info.vocab }),
            None => Ok(()),
        }
    }

    fn mint(&self) -> RequestId {
        let serial = self.num_requests.get();
        self.num_requests.set(serial + 1);
        self.hub_id.mint(serial)
    }

    /// The core asks for at least one, and bounds it by the context once more.
    fn max_tokens(&self, asked: Option<u32>, num_prompt: usize) -> u32 {
        let context = self.handle.engine_info().map_or(u32::MAX, |info| info.context);
        let room = context.saturating_sub(u32::try_from(num_prompt).unwrap_or(u32::MAX));
        asked.unwrap_or(room).min(room).max(1)
    }

    fn stop_tokens(&self, mut stop_tokens: Vec<TokenId>, ends: Ends) -> Arc<[TokenId]> {
        let own = self.handle.wires().model.tokenizer.end_tokens();
        match ends {
            Ends::Heed => stop_tokens.extend(own.iter().map(|id| TokenId(*id))),
            Ends::Ignore => {}
        }
        stop_tokens.into()
    }

    /// Everything between "it may be asked for" and "it is asked for". There is no await in here:
    /// the session is known to the hub before the scheduler can speak of it, and the guard is armed
    /// before anybody can leave.
    fn submit(
        &self,
        request: Request,
        (stop, shown): (Vec<String>, Shown),
        (called, place): (Tick, Place),
        bill: Bill,
    ) -> Result<Submitted, Refused> {
        let wires = self.handle.wires();
        let num_prompt = u32::try_from(request.prompt.len()).unwrap_or(u32::MAX);
        let prompt = Arc::clone(&request.prompt);
        let (inlet, outlet) = outbox();
        let begun = Arc::clone(&bill.begun);
        let session = SessionActor::new(session::Parts {
            id: request.id,
            num_prompt,
            stop,
            shown,
            tokenizer: Arc::clone(&wires.model.tokenizer),
            inlet,
            called,
            bill,
            stall_timeout: wires.config.stall_timeout(),
            clock: wires.clock,
            telemetry: Arc::clone(&wires.telemetry),
            scheduler: wires.scheduler.clone(),
            hub: self.hub.clone(),
        })
        .start();
        self.hub.do_send(Enter { id: request.id, session: session.clone() });
        let guard = CancelOnDrop { session, was_refused: false };
        let generation = Generation { outlet, prompt, guard };
        let (answer, verdict) = oneshot::channel();
        let submitted = wires.clock.now();
        let submit = Submit { request, place, begun, called, submitted, verdict: answer };
        match wires.scheduler.try_send(submit) {
            Ok(()) => Ok(Submitted { generation, verdict }),
            Err(SendError::Full(_)) => {
                Err(generation.refuse(self.full(self.handle.snapshot().waiting)))
            }
            Err(SendError::Closed(_)) => Err(generation.refuse(Refused::Unavailable)),
        }
    }
}

/// By when the request must have come how far: the sooner of what it says and of what its tenant
/// has.
fn terms_of(terms: &Terms, caller: &Caller, called: Tick) -> runtime_core::Terms {
    let timeouts = terms.timeouts.or_sooner(caller.timeouts());
    runtime_core::Terms {
        tenant: caller.member().record.id,
        priority: Priority(terms.priority),
        queue_deadline: timeouts.queue.map(|timeout| after(called, timeout)),
        deadline: timeouts.whole.map(|timeout| after(called, timeout)),
    }
}

impl Generation {
    /// It did not start, for this reason.
    fn refuse(mut self, refused: Refused) -> Refused {
        self.guard.was_refused = true;
        refused
    }

    /// How many tokens the prompt has.
    #[must_use]
    pub fn prompt_tokens(&self) -> u32 {
        u32::try_from(self.prompt.len()).unwrap_or(u32::MAX)
    }

    /// The tokens of the prompt.
    #[must_use]
    pub fn prompt(&self) -> &[TokenId] {
        &self.prompt
    }
}

impl Stream for Generation {
    type Item = Delta;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delta>> {
        Pin::new(&mut self.outlet).poll_next(cx)
    }
}
