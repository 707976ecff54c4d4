//! OpenAI's API: one folder per endpoint, and what they share.

mod chat;
mod completions;
mod controls;
mod error;
mod fields;
mod finish;
mod fold;
mod frame;
mod ignored;
mod json;
mod logprobs;
mod sampling;
mod tokens;
mod unsupported;
mod urgency;
mod usage;

pub(crate) mod models;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use runtime::{Generate, Refused};

pub(crate) use error::{ApiError, quote};
pub(crate) use finish::outcome;
pub(crate) use frame::{Frame, Wire};
pub(crate) use ignored::Ignored;

#[cfg(test)]
pub(crate) use controls::UsageChunk;
pub(crate) use {chat::ChatWire, completions::CompletionWire};

use self::controls::Delivery;
use self::fields::Fields;
use crate::access::Access;
use crate::server::Edge;
use crate::{credential, gate, sse};

/// A checked request, ready to run.
#[derive(Debug)]
pub(crate) struct Ready {
    generate: Generate,
    delivery: Delivery,
}

/// Answers a request of one endpoint.
///
/// # Errors
/// Everything that keeps it from being answered, before the head is sent.
pub(crate) async fn create<W: Wire>(
    request: HttpRequest,
    payload: Payload,
    edge: Data<Edge>,
) -> Result<HttpResponse, ApiError> {
    // The body of whoever has no key is not read, and so nothing can follow it.
    let caller = credential::caller(&request, &edge).map_err(ApiError::closing)?;
    gate::admit(edge.handle.status())?;
    let timeouts = urgency::timeouts_of(request.headers())?;
    let body = gate::json_body(request.headers(), payload, &edge.config).await?;
    let fields = Fields::new(json::object(&body)?);
    drop(body);
    let mut ignored = Ignored::default();
    let card = edge.handle.card();
    let mut ready = W::read(fields, &card, edge.vocab(), &mut ignored)?;
    ignored.check(request.headers())?;
    models::check_allowed(&caller, &card)?;
    let terms = &mut ready.generate.terms;
    terms.timeouts = terms.timeouts.or_sooner(timeouts);
    terms.name = Access::of(&request).id().to_owned();
    terms.caller = Some(caller);
    answer::<W>(&request, &edge, ready, &ignored).await
}

/// Runs a request and answers in the wire of its endpoint. The head goes out when the request is
/// admitted, so that a refusal still has its own status.
///
/// # Cancel safety
/// The generation lives in this future, and then in the response's body; dropping either cancels
/// it.
///
/// # Errors
/// Refusals, and failures before the head.
async fn answer<W: Wire>(
    request: &HttpRequest,
    edge: &Edge,
    ready: Ready,
    ignored: &Ignored,
) -> Result<HttpResponse, ApiError> {
    let access = Access::of(request);
    let tells_tokens = ready.generate.shown.tokens;
    let generation = match edge.worker.generate(ready.generate).await {
        Ok(generation) => generation,
        // The state may have changed since the gate, which has the words for it.
        Err(Refused::Unavailable) => {
            gate::admit(edge.handle.status())?;
            return Err(ApiError::unavailable());
        }
        Err(refused) => return Err(ApiError::refused(&refused, W::PROMPT)),
    };
    access.admitted(generation.prompt_tokens());
    let prompt = tells_tokens.then(|| tokens::list(generation.prompt()));
    let card = edge.handle.card();
    let mut response = match ready.delivery {
        Delivery::Whole => {
            let output = fold::fold(generation, &access).await.map_err(ApiError::failed)?;
            let body = frame::whole::<W>(&card.id, &output, prompt.as_deref());
            HttpResponse::Ok().content_type("application/json").body(body)
        }
        Delivery::Stream(usage) => {
            let frame = Frame::of_chunks::<W>(&card.id, usage, prompt);
            sse::respond::<W>(generation, frame, access, edge.config.keep_alive_ms)
        }
    };
    if let Some(list) = ignored.header() {
        response.headers_mut().insert(ignored::HEADER, list);
    }
    Ok(response)
}

/// Text as a JSON string, quotes included. What Unicode takes for a line's end is escaped although
/// JSON does not ask for it, because clients exist that split events with a text library's idea of
/// lines.
fn escape(text: &str) -> String {
    one_line(serde_json::to_string(text).expect("strings always serialise"))
}

/// The same JSON on what everybody takes for one line.
fn one_line(escaped: String) -> String {
    if escaped.contains(['\u{85}', '\u{2028}', '\u{2029}']) {
        return escaped
            .replace('\u{85}', "\\u0085")
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029");
    }
    escaped
}

#[cfg(test)]
mod tests;
