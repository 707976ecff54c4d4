//! A generation as server-sent events: chunks, an end, comments in silence.
//!
//! In order: the opening chunk with the first token, text, the finish, the usage if it was asked
//! for, `[DONE]`. An output that ends early says `{"error":…}` instead of what is left, and no
//! `[DONE]`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web_lab::sse::{Data, Event, Sse};
use futures_core::Stream;
use runtime::{Delta, Failure};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::access::Access;
use crate::openai::{ApiError, Frame, Wire, outcome};

const DONE: &str = "[DONE]";
const KEEP_ALIVE: &str = "keep-alive";

/// The answer that streams `deltas`.
///
/// # Cancel safety
/// The body owns the deltas. Dropping it before its end cancels them; dropping it after does
/// nothing.
pub(crate) fn respond<W: Wire>(
    deltas: impl Stream<Item = Delta> + Unpin + 'static,
    frame: Frame,
    access: Rc<Access>,
    keep_alive_ms: u64,
) -> HttpResponse {
    let silence = Silence::new(Duration::from_millis(keep_alive_ms));
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-cache"))
        // A proxy that buffers would turn a stream into one late answer.
        .insert_header(("x-accel-buffering", "no"))
        .body(Sse::from_stream(Events::<_, W>::new(deltas, frame, access, silence)))
}

/// The events of one output.
struct Events<S, W> {
    deltas: S,
    frame: Frame,
    access: Rc<Access>,
    silence: Silence,
    /// Data that is due before the next delta.
    due: VecDeque<String>,
    phase: Phase,
    /// Characters of tokens that log-probabilities were said of.
    written: usize,
    wire: PhantomData<fn() -> W>,
}

/// How far an output has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No delta was heard.
    Opening,
    /// Deltas follow.
    Text,
    /// Nothing follows what is due.
    Ended,
}

impl<S: Stream<Item = Delta> + Unpin, W: Wire> Events<S, W> {
    fn new(deltas: S, frame: Frame, access: Rc<Access>, silence: Silence) -> Self {
        let (due, phase) = (VecDeque::new(), Phase::Opening);
        Self { deltas, frame, access, silence, due, phase, written: 0, wire: PhantomData }
    }

    fn hear(&mut self, delta: Delta) {
        match delta {
            Delta::Text { text, num_tokens, logprobs, tokens } => {
                self.access.heard(num_tokens);
                self.open();
                if !text.is_empty() || !logprobs.is_empty() || !tokens.is_empty() {
                    let logprobs = W::logprobs(&logprobs, &mut self.written);
                    self.due.push_back(self.frame.text::<W>(&text, &logprobs, &tokens));
                }
            }
            Delta::End { finish, usage } => {
                self.access.finished(outcome(finish), usage.output);
                self.open();
                self.due.push_back(self.frame.finish::<W>(finish));
                self.due.extend(self.frame.usage(usage));
                self.due.push_back(DONE.to_owned());
                self.phase = Phase::Ended;
            }
            Delta::Failed(failure) => self.fail(failure),
        }
    }

    fn open(&mut self) {
        if self.phase == Phase::Opening {
            self.due.extend(self.frame.opening::<W>());
            self.phase = Phase::Text;
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.access.failed();
        self.due.push_back(ApiError::failed(failure).json());
        self.phase = Phase::Ended;
    }

    /// The next data, or the end of all.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<String>> {
        loop {
            if let Some(data) = self.due.pop_front() {
                return Poll::Ready(Some(data));
            }
            if self.phase == Phase::Ended {
                return Poll::Ready(None);
            }
            match Pin::new(&mut self.deltas).poll_next(cx) {
                Poll::Ready(Some(delta)) => self.hear(delta),
                // A stream that ends without an end has lost its session.
                Poll::Ready(None) => self.fail(Failure::Engine),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<S: Stream<Item = Delta> + Unpin, W: Wire> Stream for Events<S, W> {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.poll_data(cx) {
            Poll::Ready(Some(data)) => {
                self.silence.broken();
                Poll::Ready(Some(Ok(Event::Data(Data::new(data)))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                self.silence.poll_over(cx).map(|()| Some(Ok(Event::Comment(KEEP_ALIVE.into()))))
            }
        }
    }
}

/// Notices when nothing was sent for a while. The comment that follows keeps proxies patient, and
/// finds out a peer that is gone without a word.
struct Silence {
    longest: Duration,
    over: Pin<Box<Sleep>>,
    /// When `over` should fire; it is moved there only when it fires early, not with every event.
    due: Instant,
}

impl Silence {
    fn new(longest: Duration) -> Self {
        let due = Instant::now() + longest;
        Self { longest, over: Box::pin(sleep_until(due)), due }
    }

    fn broken(&mut self) {
        self.due = Instant::now() + self.longest;
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.over.as_mut().poll(cx).is_ready() {
            if Instant::now() < self.due {
                self.over.as_mut().reset(self.due);
                continue;
            }
            self.broken();
            self.over.as_mut().reset(self.due);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
