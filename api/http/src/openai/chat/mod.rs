//! `POST /v1/chat/completions`

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

/// The wire of chats.
pub(crate) struct ChatWire;

impl Wire for ChatWire {
    const ID: &'static str = "chatcmpl";
    const CHUNK: &'static str = "chat.completion.chunk";
    const WHOLE: &'static str = "chat.completion";
    const PROMPT: &'static str = "messages";
    const OPENING: Option<&'static str> = Some(chunk::OPENING);

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

/// Answers a conversation.
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
    let chat = request::read(Fields::new(json::object(&body)?), card.sampling, &mut ignored)?;
    drop(body);
    models::check(&chat.model, &card)?;
    let ready = convert::ready(chat, edge.vocab())?;
    answer::<ChatWire>(&request, &edge, ready, &ignored).await
}
