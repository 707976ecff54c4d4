//! `/health` and `/ready`.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::web::Data;
use runtime::Status;
use serde::Serialize;

use crate::server::Edge;

#[derive(Serialize)]
struct Report {
    status: &'static str,
}

/// `GET /health`: 200 unless the engine is gone.
pub(crate) async fn alive(edge: Data<Edge>) -> HttpResponse {
    let status = edge.handle.status();
    match status {
        Status::Failed | Status::Stopped => report(StatusCode::SERVICE_UNAVAILABLE, status),
        Status::Draining | Status::Serving | Status::Starting => report(StatusCode::OK, status),
    }
}

/// `GET /ready`: 200 while new requests are taken.
pub(crate) async fn ready(edge: Data<Edge>) -> HttpResponse {
    let status = edge.handle.status();
    match status {
        Status::Serving => report(StatusCode::OK, status),
        Status::Draining | Status::Failed | Status::Starting | Status::Stopped => {
            report(StatusCode::SERVICE_UNAVAILABLE, status)
        }
    }
}

fn report(code: StatusCode, status: Status) -> HttpResponse {
    let mut response = HttpResponse::build(code);
    if code == StatusCode::SERVICE_UNAVAILABLE {
        response.insert_header((RETRY_AFTER, 1));
    }
    response.json(Report { status: word(status) })
}

const fn word(status: Status) -> &'static str {
    match status {
        Status::Draining => "draining",
        Status::Failed => "failed",
        Status::Serving => "serving",
        Status::Starting => "starting",
        Status::Stopped => "stopped",
    }
}
