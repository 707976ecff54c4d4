//! One request on its worker: turns the tokens it hears into text for the outbox, ends it at a stop
//! string, and cancels it when its client is gone or has stalled.
//!
//! It lives on the arbiter of the socket that its text goes to, from before the scheduler knows the
//! request until the client is gone or has taken the end. Invariants: the outbox gets exactly one
//! end; an account that may still be open at the scheduler is cancelled when the session goes,
//! whatever it goes by.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, Addr, Context, Handler};
use engine_contract::{Logprobs, TokenId};
use runtime_core::{CancelCause, Deadline, End, Finish, RequestId, Tick};
use runtime_text::Tokenizer;

use crate::clock::{Clock, between};
use crate::hub::HubActor;
use crate::message::{Cancel, ClientGone, Hear, Leave, Sweep};
use crate::open::Begun;
use crate::outbox::Inlet;
use crate::scheduler::SchedulerActor;
use crate::telemetry::{Outcome, Telemetry};
use crate::tenancy::{Charge, Record};
use crate::transcript::{Progress, Transcript};
use crate::wiring::SESSION_MAILBOX;
use crate::{Delta, Failure, FinishReason, Shown, Usage, UsageRecord, UsageSink};

/// On whose account a session runs.
pub(crate) struct Bill {
    /// The front end's name for the request.
    pub(crate) name: String,
    /// Whose it is.
    pub(crate) tenant: Arc<Record>,
    /// What it has taken of its tenant's rates.
    pub(crate) charge: Charge,
    /// When its first step was planned.
    pub(crate) begun: Arc<Begun>,
    /// Who keeps the books.
    pub(crate) sink: Option<UsageSink>,
}

/// What a session is made of.
pub(crate) struct Parts {
    /// The request's name.
    pub(crate) id: RequestId,
    /// Tokens of its prompt.
    pub(crate) num_prompt: u32,
    /// Strings that end its output.
    pub(crate) stop: Vec<String>,
    /// What of its output has text.
    pub(crate) shown: Shown,
    /// Turns its tokens into text.
    pub(crate) tokenizer: Arc<Tokenizer>,
    /// Where its text goes.
    pub(crate) inlet: Inlet,
    /// When the client called.
    pub(crate) called: Tick,
    /// On whose account it is.
    pub(crate) bill: Bill,
    /// How long the reader may leave text untaken.
    pub(crate) stall_timeout: Duration,
    /// The runtime's clock.
    pub(crate) clock: Clock,
    /// Where counts go.
    pub(crate) telemetry: Arc<Telemetry>,
    /// Who hears of cancellations.
    pub(crate) scheduler: Addr<SchedulerActor>,
    /// Who hears that the session is gone.
    pub(crate) hub: Addr<HubActor>,
}

/// The actor of one request.
pub(crate) struct SessionActor {
    id: RequestId,
    inlet: Inlet,
    transcript: Transcript,
    shown: Shown,
    usage: Usage,
    life: Life,
    called: Tick,
    bill: Bill,
    /// When tokens were first heard.
    first_heard: Option<Tick>,
    /// When tokens were last heard.
    heard: Option<Tick>,
    stall_timeout: Duration,
    /// Text on its way to the outbox; kept for its memory.
    text: String,
    clock: Clock,
    telemetry: Arc<Telemetry>,
    scheduler: Addr<SchedulerActor>,
    hub: Addr<HubActor>,
}

/// Whether the client has been told the end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    /// The client is gone, or has its end.
    Ended,
    /// The scheduler may have more to say.
    Open,
}

impl SessionActor {
    /// A session that has heard nothing.
    pub(crate) fn new(parts: Parts) -> Self {
        parts.telemetry.requests.streams_open.inc();
        Self {
            id: parts.id,
            inlet: parts.inlet,
            transcript: Transcript::new(parts.tokenizer, parts.stop, parts.shown),
            shown: parts.shown,
            usage: Usage { prompt: parts.num_prompt, cached: 0, output: 0 },
            life: Life::Open,
            called: parts.called,
            bill: parts.bill,
            first_heard: None,
            heard: None,
            stall_timeout: parts.stall_timeout,
            text: String::new(),
            clock: parts.clock,
            telemetry: parts.telemetry,
            scheduler: parts.scheduler,
            hub: parts.hub,
        }
    }

    /// `logprobs` are as many as the tokens, or none.
    fn hear_tokens(&mut self, tokens: &[TokenId], logprobs: &[Logprobs], now: Tick) -> Progress {
        if tokens.is_empty() {
            return Progress::More;
        }
        let metrics = &self.telemetry.requests;
        metrics.output_tokens.inc_by(tokens.len() as u64);
        self.bill.tenant.metrics.output(tokens.len() as u64);
        match self.heard.replace(now) {
            None => {
                self.first_heard = Some(now);
                metrics.ttft.observe_duration(between(self.called, now));
                self.bill.tenant.metrics.ttft.observe_duration(between(self.called, now));
            }
            Some(before) => metrics.itl.observe_duration(between(before, now)),
        }
        self.text.clear();
        let mut progress = Progress::More;
        let mut num_taken = 0;
        for token in tokens {
            num_taken += 1;
            progress = self.transcript.push(*token, &mut self.text);
            if progress == Progress::Stopped {
                break;
            }
        }
        self.usage.output += num_taken;
        let named = tokens.iter().zip(logprobs).take(num_taken as usize);
        let named = named.map(|(token, logprobs)| self.transcript.name(*token, logprobs));
        let told = if self.shown.tokens { &tokens[..num_taken as usize] } else { &[] };
        self.inlet.push(&self.text, num_taken, named, told, now);
        progress
    }

    fn hear_end(&mut self, end: End, now: Tick) {
        match end {
            End::Finished(finish) => self.hear_finish(finish, now),
            End::Cancelled(CancelCause::Drain) => self.fail(Failure::Draining, now),
            // Only this session cancels for these causes, and it ends first.
            End::Cancelled(
                CancelCause::Disconnect | CancelCause::Stall | CancelCause::StopString,
            ) => {}
            End::DeadlinePassed(Deadline::Whole) if self.usage.output > 0 => {
                self.finish_with(None, |_| FinishReason::Timeout, now);
            }
            End::DeadlinePassed(_) => self.fail(Failure::DeadlinePassed, now),
            End::EngineFailed => self.fail(Failure::Engine, now),
            End::NotFinite => self.fail(Failure::NotFinite, now),
        }
    }

    fn hear_finish(&mut self, finish: Finish, now: Tick) {
        let mut last = None;
        if let Finish::StopToken(token) = finish {
            last = Some(token);
            // It is not delivered, and counts.
            self.usage.output += 1;
            self.telemetry.requests.output_tokens.inc();
            self.bill.tenant.metrics.output(1);
        }
        let finish = |held_back| match (finish, held_back) {
            (Finish::StopToken(_), _) | (Finish::Length, Progress::Stopped) => FinishReason::Stop,
            (Finish::Length, Progress::More) => FinishReason::Length,
        };
        self.finish_with(last, finish, now);
    }

    /// Says what was held back, with the stop token where it is asked for, and then the end.
    fn finish_with(
        &mut self,
        last: Option<TokenId>,
        finish: impl FnOnce(Progress) -> FinishReason,
        now: Tick,
    ) {
        self.text.clear();
        if let Some(token) = last.filter(|_| self.shown.stop) {
            self.transcript.push(token, &mut self.text);
        }
        let held_back = self.transcript.finish(&mut self.text);
        let told = last.filter(|_| self.shown.tokens);
        self.inlet.push(&self.text, 0, None, told.as_slice(), now);
        self.finish(finish(held_back), now);
    }

    fn finish(&mut self, finish: FinishReason, now: Tick) {
        self.inlet.end(Delta::End { finish, usage: self.usage }, now);
        self.ended(Outcome::Finished(finish), now);
    }

    fn fail(&mut self, failure: Failure, now: Tick) {
        self.inlet.end(Delta::Failed(failure), now);
        self.ended(Outcome::Failed(failure), now);
    }

    fn ended(&mut self, outcome: Outcome, now: Tick) {
        self.life = Life::Ended;
        let total = between(self.called, now);
        self.telemetry.requests.end(outcome);
        self.telemetry.requests.whole.observe_duration(total);
        self.bill.tenant.metrics.end(outcome);
        self.settle(outcome, total);
    }

    /// Nobody pays for a prompt that nothing was computed of, nor for tokens that never were.
    fn settle(&mut self, outcome: Outcome, total: Duration) {
        let Bill { name, tenant, charge, begun, sink } = &mut self.bill;
        let usage = match begun.at() {
            None => Usage { prompt: 0, ..self.usage },
            Some(_) => self.usage,
        };
        charge.settle(u64::from(usage.prompt) + u64::from(usage.output));
        let Some(sink) = sink else { return };
        let since_called = |then: Option<Tick>| then.map(|then| between(self.called, then));
        let record = UsageRecord {
            request: std::mem::take(name),
            tenant: Arc::clone(&tenant.name),
            usage,
            outcome: outcome.name(),
            queue: since_called(begun.at()),
            ttft: since_called(self.first_heard),
            total,
        };
        if !sink.put(record) {
            self.telemetry.usage_lost.inc();
        }
    }

    /// The reader takes nothing, or far less than there is.
    fn give_up(&mut self, now: Tick) {
        self.fail(Failure::Stalled, now);
        self.cancel(CancelCause::Stall);
    }

    fn cancel(&self, cause: CancelCause) {
        self.scheduler.do_send(Cancel { id: self.id, cause });
    }
}

impl Drop for SessionActor {
    fn drop(&mut self) {
        let metrics = &self.telemetry.requests;
        metrics.streams_open.dec();
        if self.life == Life::Open {
            // It panicked, or its arbiter ended under it.
            metrics.without_terminal.inc();
            self.cancel(CancelCause::Disconnect);
            self.hub.do_send(Leave { id: self.id });
        }
    }
}

impl Actor for SessionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(SESSION_MAILBOX);
    }

    fn stopped(&mut self, _ctx: &mut Self::Context) {
        self.hub.do_send(Leave { id: self.id });
    }
}

impl Handler<Hear> for SessionActor {
    type Result = ();

    fn handle(&mut self, hear: Hear, _ctx: &mut Self::Context) {
        if self.life == Life::Ended {
            return;
        }
        let now = self.clock.now();
        let update = &hear.updates.entries[hear.entry];
        if let Some(num_cached) = update.num_cached {
            self.usage.cached = num_cached;
            self.bill.tenant.metrics.cached(num_cached);
        }
        let tokens = &hear.updates.tokens[update.tokens.clone()];
        let logprobs = &hear.updates.logprobs[update.logprobs.clone()];
        if self.hear_tokens(tokens, logprobs, now) == Progress::Stopped {
            self.finish(FinishReason::Stop, now);
            if update.end.is_none() {
                self.cancel(CancelCause::StopString);
            }
            return;
        }
        if let Some(end) = update.end {
            self.hear_end(end, now);
        } else if self.inlet.is_full() {
            self.give_up(now);
        }
    }
}

impl Handler<Sweep> for SessionActor {
    type Result = ();

    fn handle(&mut self, sweep: Sweep, _ctx: &mut Self::Context) {
        let Some(since) = self.inlet.untaken_since() else { return };
        if self.life == Life::Open && between(since, sweep.now) > self.stall_timeout {
            self.give_up(sweep.now);
        }
    }
}

impl Handler<ClientGone> for SessionActor {
    type Result = ();

    fn handle(&mut self, gone: ClientGone, ctx: &mut Self::Context) {
        if gone.was_refused {
            // What was never taken does not end, and costs nothing.
            self.bill.charge.refused();
            self.life = Life::Ended;
        }
        if self.life == Life::Open {
            self.ended(Outcome::Disconnected, self.clock.now());
            self.cancel(CancelCause::Disconnect);
        }
        ctx.stop();
    }
}
