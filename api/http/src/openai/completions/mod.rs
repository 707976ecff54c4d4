//! `POST /v1/completions`

mod chunk;
mod convert;
mod request;
mod response;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::fields::Fields;
use super::{ApiError, Ignored, Wire, answer, json, models};
use crate::gate;
use crate::server::Edge;

/// The wire of completions.
pub(crate) struct CompletionWire;

impl Wire for CompletionWire {
    const ID: &'static str = "cmpl";
    const CHUNK: &'static str = "text_completion";
    const WHOLE: &'static str = "text_completion";
    const PROMPT: &'static str = "prompt";
    const OPENING: Option<&'static str> = None;

    fn text(text: &str) -> String {
        chunk::text(text)
    }

    fn finish(finish: &str) -> String {
        chunk::finish(finish)
    }

    fn whole(text: &str, finish: &str) -> String {
        response::choice(text, finish)
    }
}

/// Continues a prompt.
///
/// # Errors
/// Everything that keeps it from being answered, before the head is sent.
pub(crate) async fn create(
    request: HttpRequest,
    payload: Payload,
    edge: Data<Edge>,
) -> Result<HttpResponse, ApiError> {
    gate::admit(edge.handle.status())?;
    let body = gate::json_body(request.headers(), payload, &edge.config).await?;
    let mut ignored = Ignored::default();
    let card = edge.handle.card();
    let completion = request::read(Fields::new(json::object(&body)?), card.sampling, &mut ignored)?;
    drop(body);
    models::check(&completion.model, &card)?;
    let ready = convert::ready(completion, edge.vocab())?;
    answer::<CompletionWire>(&request, &edge, ready, &ignored).await
}
