//! `POST /admin/reload`: the configuration is read again, as at SIGHUP, and the answer says what
//! came of it.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::credential;
use crate::openai::ApiError;
use crate::server::Edge;

/// Requests to reload that may wait; one takes milliseconds.
const WAITING_MAX: usize = 8;

/// Where the one who reloads says what has changed, or what keeps everything as it is.
pub type ReloadAnswer = oneshot::Sender<Result<String, String>>;

/// The way to the one who holds the configuration.
#[derive(Clone, Debug)]
pub struct Reloader {
    ask: mpsc::Sender<ReloadAnswer>,
}

impl Reloader {
    /// A way, and the end that requests to reload come out of.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<ReloadAnswer>) {
        let (ask, asked) = mpsc::channel(WAITING_MAX);
        (Self { ask }, asked)
    }

    async fn reload(&self) -> Result<String, ApiError> {
        let (answer, answered) = oneshot::channel();
        self.ask.send(answer).await.map_err(|_| ApiError::shutting_down())?;
        let outcome = answered.await.map_err(|_| ApiError::shutting_down())?;
        outcome.map_err(|why| ApiError::invalid_configuration(&why))
    }
}

#[derive(Serialize)]
struct Report {
    changes: String,
}

/// `POST /admin/reload`
///
/// # Errors
/// 401 without an admin's key, 400 with what is wrong with the configuration.
pub(crate) async fn reload(
    request: HttpRequest,
    edge: Data<Edge>,
) -> Result<HttpResponse, ApiError> {
    credential::admin(&request, &edge)?;
    let changes = edge.reloader.reload().await?;
    Ok(HttpResponse::Ok().json(Report { changes }))
}
