//! What is decided before a request is looked into: the server's state, the head's bounds, the
//! body's kind and size.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::web::{BytesMut, Payload};
use futures_core::Stream as _;
use runtime::Status;

use crate::Config;
use crate::openai::ApiError;

const URI_BYTES_MAX: usize = 8 << 10;
const HEADER_BYTES_MAX: usize = 16 << 10;

/// Bounds of the head, for every route.
///
/// # Errors
/// 414 and 431.
pub(crate) fn head(request: &ServiceRequest) -> Result<(), ApiError> {
    let uri = request.head().uri.path_and_query().map_or(0, |given| given.as_str().len());
    if uri > URI_BYTES_MAX {
        return Err(ApiError::uri_too_long(URI_BYTES_MAX));
    }
    let lines = request.headers().iter();
    let bytes: usize = lines.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > HEADER_BYTES_MAX {
        return Err(ApiError::headers_too_large(HEADER_BYTES_MAX));
    }
    Ok(())
}

/// Whether new work is taken now.
///
/// # Errors
/// 503 that says why not.
pub(crate) fn admit(status: Status) -> Result<(), ApiError> {
    match status {
        Status::Serving => Ok(()),
        Status::Starting => Err(ApiError::starting()),
        Status::Draining | Status::Stopped => Err(ApiError::shutting_down()),
        Status::Failed => Err(ApiError::unavailable()),
    }
}

/// The whole body of a JSON request.
///
/// # Cancel safety
/// Dropping the future drops what was read.
///
/// # Errors
/// 415 for another kind of body; 413 at the head if the length is announced, else at the limit; 408
/// for a body that takes too long; 400 for one that breaks off.
pub(crate) async fn json_body(
    headers: &HeaderMap,
    payload: Payload,
    config: &Config,
) -> Result<BytesMut, ApiError> {
    check_kind(headers)?;
    let announced = announced_length(headers);
    if announced.is_some_and(|length| length > config.body_bytes_max as u64) {
        return Err(ApiError::body_too_large(config.body_bytes_max));
    }
    let limit = Duration::from_millis(config.body_timeout_ms);
    match tokio::time::timeout(limit, collect(payload, config.body_bytes_max)).await {
        Ok(body) => body,
        Err(_) => Err(ApiError::body_timed_out()),
    }
}

async fn collect(mut payload: Payload, bytes_max: usize) -> Result<BytesMut, ApiError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = poll_fn(|cx| Pin::new(&mut payload).poll_next(cx)).await {
        let chunk = chunk.map_err(|_| ApiError::body_broken())?;
        if body.len() + chunk.len() > bytes_max {
            return Err(ApiError::body_too_large(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// A missing Content-Type is refused too: a web page can send such a body to any address without
/// asking, and the JSON type is what makes a browser ask.
fn check_kind(headers: &HeaderMap) -> Result<(), ApiError> {
    let encodings = headers.get_all(CONTENT_ENCODING);
    if encodings.into_iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(ApiError::encoded_body());
    }
    let mut kinds = headers.get_all(CONTENT_TYPE);
    match (kinds.next().and_then(|kind| kind.to_str().ok()), kinds.next()) {
        (Some(kind), None) if is_json(kind) => Ok(()),
        _ => Err(ApiError::not_json()),
    }
}

fn is_json(kind: &str) -> bool {
    let mut parts = kind.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let utf8 = |value: &str| {
        let value = value.trim().trim_matches('"');
        value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8")
    };
    essence.eq_ignore_ascii_case("application/json")
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => utf8(value),
            _ => true,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_from_other_kinds() {
        for json in [
            "application/json",
            "Application/JSON",
            "application/json; charset=UTF-8",
            "application/json;charset=\"utf-8\"; profile=x",
            "application/json;",
        ] {
            assert!(is_json(json), "{json}");
        }
        for other in [
            "",
            "text/plain",
            "application/jsonp",
            "application/x-www-form-urlencoded",
            "application/json; charset=latin1",
            "multipart/form-data; boundary=application/json",
        ] {
            assert!(!is_json(other), "{other}");
        }
    }
}
