//! One log line per request, written when its last byte is out or its client is gone.
//!
//! [`track`] is the outermost layer of every route: it names the request, and holds its [`Access`]
//! in the handler's future and then in the response's body. Whichever of them goes last writes the
//! line.

use std::cell::{Cell, OnceCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{Error, HttpMessage as _, HttpRequest};

use runtime::Caller;

use crate::openai::quote;
use crate::request_id::{self, RequestId};
use crate::server::Edge;
use crate::{gate, rate_limit};

/// What is known of one request so far.
pub(crate) struct Access {
    id: RequestId,
    target: Target,
    caller: OnceCell<Caller>,
    started: Instant,
    first_text: Cell<Option<Duration>>,
    status: Cell<Option<u16>>,
    prompt_tokens: Cell<u32>,
    output_tokens: Cell<u32>,
    outcome: Cell<Outcome>,
}

/// What was asked for. The client's own words are escaped and cut.
#[derive(Default)]
struct Target {
    method: String,
    path: String,
    /// The pattern that the path met, if any.
    route: Option<String>,
}

/// How a request ended, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Answered in full.
    Answered,
    /// The client went away before the end.
    Disconnected,
    /// An error took the place of the rest of a stream.
    Failed,
    /// The output is complete: a limit is reached.
    Length,
    /// The output is complete: an end token or a stop string.
    Stop,
    /// The output ends where its time was up.
    Timeout,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
            Self::Length => "length",
            Self::Stop => "stop",
            Self::Timeout => "timeout",
        }
    }
}

impl Access {
    fn new(request: &ServiceRequest) -> Self {
        let target = Target {
            method: quote(request.method().as_str()),
            path: quote(request.path()),
            route: request.match_pattern(),
        };
        Self::start(RequestId::of(request.headers()), target)
    }

    fn start(id: RequestId, target: Target) -> Self {
        Self {
            id,
            target,
            caller: OnceCell::new(),
            started: Instant::now(),
            first_text: Cell::new(None),
            status: Cell::new(None),
            prompt_tokens: Cell::new(0),
            output_tokens: Cell::new(0),
            outcome: Cell::new(Outcome::Disconnected),
        }
    }

    /// The record of a request that came through [`track`].
    pub(crate) fn of(request: &HttpRequest) -> Rc<Self> {
        let known = request.extensions().get::<Rc<Self>>().map(Rc::clone);
        known.expect("`track` wraps every route")
    }

    /// A record that belongs to no connection.
    #[cfg(test)]
    pub(crate) fn detached() -> Rc<Self> {
        let id = RequestId::of(&actix_web::http::header::HeaderMap::new());
        Rc::new(Self::start(id, Target::default()))
    }

    /// The request's name.
    pub(crate) fn id(&self) -> &str {
        self.id.as_str()
    }

    /// It is known whom the request is from.
    pub(crate) fn called_by(&self, caller: &Caller) {
        // A request has one caller; to say it again changes nothing.
        let _ = self.caller.set(caller.clone());
    }

    /// The prompt was admitted.
    pub(crate) fn admitted(&self, prompt_tokens: u32) {
        self.prompt_tokens.set(prompt_tokens);
    }

    /// Output arrived.
    pub(crate) fn heard(&self, num_tokens: u32) {
        if self.first_text.get().is_none() {
            self.first_text.set(Some(self.started.elapsed()));
        }
        self.output_tokens.set(self.output_tokens.get().saturating_add(num_tokens));
    }

    /// The whole of the output is known, and how many tokens it took.
    pub(crate) fn finished(&self, outcome: Outcome, output_tokens: u32) {
        self.output_tokens.set(output_tokens);
        self.outcome.set(outcome);
    }

    /// The output ended early.
    pub(crate) fn failed(&self) {
        self.outcome.set(Outcome::Failed);
    }

    fn body_ended(&self) {
        if self.outcome.get() == Outcome::Disconnected {
            self.outcome.set(Outcome::Answered);
        }
    }

    #[cfg(test)]
    pub(crate) fn outcome(&self) -> Outcome {
        self.outcome.get()
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        tracing::info!(
            target: "antiphon::access",
            request_id = self.id.as_str(),
            method = self.target.method,
            path = self.target.path,
            tenant = self.caller.get().map(|caller| &**caller.name()),
            status = self.status.get(),
            prompt_tokens = self.prompt_tokens.get(),
            output_tokens = self.output_tokens.get(),
            ttft_ms = self.first_text.get().map(milliseconds),
            duration_ms = milliseconds(self.started.elapsed()),
            outcome = self.outcome.get().name(),
            "request"
        );
    }
}

fn milliseconds(duration: Duration) -> f64 {
    // Microseconds are as fine as a log reader cares for.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Names the request, refuses a head beyond bounds, and keeps the record until the last byte.
///
/// # Errors
/// Those of the routes inside.
pub(crate) async fn track(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let access = Rc::new(Access::new(&request));
    request.extensions_mut().insert(Rc::clone(&access));
    let mut response = match gate::head(&request) {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(refusal) => request.into_response(refusal.into_response()),
    };
    response.headers_mut().insert(request_id::HEADER, access.id.header());
    let status = response.status().as_u16();
    access.status.set(Some(status));
    if let Some(edge) = response.request().app_data::<Data<Edge>>().cloned() {
        edge.responses.count(access.target.route.as_deref().unwrap_or("unknown"), status);
        let standing = access.caller.get().map(|caller| edge.handle.standing(caller));
        rate_limit::tell(standing.unwrap_or_default(), response.headers_mut());
    }
    Ok(response.map_body(|_, body| BoxBody::new(Tracked { body, access })))
}

/// A body that notes its end, and keeps the record alive until it is dropped.
struct Tracked {
    body: BoxBody,
    access: Rc<Access>,
}

impl MessageBody for Tracked {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        let size = self.body.size();
        // A body without bytes is never polled.
        if matches!(size, BodySize::None | BodySize::Sized(0)) {
            self.access.body_ended();
        }
        size
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_next(cx);
        if matches!(polled, Poll::Ready(None)) {
            self.access.body_ended();
        }
        polled
    }
}
