//! `/v1/models`: the one model that is served.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use runtime::ModelCard;
use serde::Serialize;

use super::ApiError;
use crate::server::Edge;

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    /// Most tokens of prompt and output together; not OpenAI's, but read by many clients.
    max_model_len: u32,
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: [Model<'a>; 1],
}

impl<'a> From<&'a ModelCard> for Model<'a> {
    fn from(card: &'a ModelCard) -> Self {
        Self {
            id: &card.id,
            object: "model",
            created: card.created,
            owned_by: "antiphon",
            max_model_len: card.context,
        }
    }
}

/// `GET /v1/models`
pub(crate) async fn list(edge: Data<Edge>) -> HttpResponse {
    let card = edge.handle.card();
    HttpResponse::Ok().json(List { object: "list", data: [Model::from(&*card)] })
}

/// `GET /v1/models/{id}`
///
/// # Errors
/// 404 for any other name. It is compared, and nothing else is done with it.
pub(crate) async fn show(name: Path<String>, edge: Data<Edge>) -> Result<HttpResponse, ApiError> {
    let card = edge.handle.card();
    check(&name, &card)?;
    Ok(HttpResponse::Ok().json(Model::from(&*card)))
}

/// # Errors
/// 404 for any name but the served model's.
pub(crate) fn check(name: &str, card: &ModelCard) -> Result<(), ApiError> {
    if name == card.id { Ok(()) } else { Err(ApiError::model_not_found(name)) }
}
