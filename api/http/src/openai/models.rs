//! `/v1/models`: the one model that is served.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use runtime::{Caller, ModelCard};
use serde::Serialize;

use super::ApiError;
use crate::credential;
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
    data: Vec<Model<'a>>,
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

/// `GET /v1/models`: those that the caller may use.
///
/// # Errors
/// 401 for nobody's key.
pub(crate) async fn list(request: HttpRequest, edge: Data<Edge>) -> Result<HttpResponse, ApiError> {
    let caller = credential::caller(&request, &edge)?;
    let card = edge.handle.card();
    let allowed = caller.may_use(&card.id).then(|| Model::from(&*card));
    let data = allowed.into_iter().collect();
    Ok(HttpResponse::Ok().json(List { object: "list", data }))
}

/// `GET /v1/models/{id}`
///
/// # Errors
/// 401 for nobody's key. 404 for any other name: it is compared, and nothing else is done with it.
pub(crate) async fn show(
    request: HttpRequest,
    name: Path<String>,
    edge: Data<Edge>,
) -> Result<HttpResponse, ApiError> {
    let caller = credential::caller(&request, &edge)?;
    let card = edge.handle.card();
    check(&name, &card)?;
    check_allowed(&caller, &card)?;
    Ok(HttpResponse::Ok().json(Model::from(&*card)))
}

/// # Errors
/// 404 for any name but the served model's.
pub(crate) fn check(name: &str, card: &ModelCard) -> Result<(), ApiError> {
    if name == card.id { Ok(()) } else { Err(ApiError::model_not_found(name)) }
}

/// A model that a tenant may not use does not exist for it, in the same words.
///
/// # Errors
/// 404 where the caller's tenant has a list of models without this one.
pub(crate) fn check_allowed(caller: &Caller, card: &ModelCard) -> Result<(), ApiError> {
    if caller.may_use(&card.id) { Ok(()) } else { Err(ApiError::model_not_found(&card.id)) }
}
