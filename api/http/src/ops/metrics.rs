//! `/metrics`

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::process;
use crate::credential;
use crate::openai::ApiError;
use crate::server::Edge;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What closes an exposition.
const EOF: &str = "# EOF\n";

/// `GET /metrics`: the runtime's metrics and the process's own, as OpenMetrics text.
///
/// # Errors
/// 401: where there are tenants, what they do is the business of those who run the server.
pub(crate) async fn show(request: HttpRequest, edge: Data<Edge>) -> Result<HttpResponse, ApiError> {
    if !edge.handle.is_open() {
        credential::admin(&request, &edge)?;
    }
    let encoded = edge.handle.scrape().await;
    let runtime = encoded.strip_suffix(EOF).unwrap_or(&encoded);
    let body = [runtime, &process::encode(), EOF].concat();
    Ok(HttpResponse::Ok().content_type(CONTENT_TYPE).body(body))
}
