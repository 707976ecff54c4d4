//! `/metrics`

use actix_web::HttpResponse;
use actix_web::web::Data;

use super::process;
use crate::server::Edge;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What closes an exposition.
const EOF: &str = "# EOF\n";

/// `GET /metrics`: the runtime's metrics and the process's own, as OpenMetrics text.
pub(crate) async fn show(edge: Data<Edge>) -> HttpResponse {
    let encoded = edge.handle.telemetry().encode();
    let runtime = encoded.strip_suffix(EOF).unwrap_or(&encoded);
    let body = [runtime, &process::encode(), EOF].concat();
    HttpResponse::Ok().content_type(CONTENT_TYPE).body(body)
}
