//! Every error that a client can see, in OpenAI's shape: its status, its code, its words.

mod refusal;

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

const INVALID_REQUEST: &str = "invalid_request_error";
const SERVER_ERROR: &str = "server_error";

/// Seconds after which a full queue has usually moved.
const RETRY_SOON: u32 = 1;
/// Seconds after which another server has usually taken over, or this one has started.
const RETRY_LATER: u32 = 5;

/// Most characters of a client's own input that a message repeats.
const QUOTE_CHARS_MAX: usize = 64;

/// Most characters of a message that quotes a configuration.
const MESSAGE_CHARS_MAX: usize = 1024;

/// An error as a client sees it.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
    allow: Option<&'static str>,
    retry_after: Option<u32>,
    close: bool,
    /// Whether a key would help.
    challenge: bool,
}

#[derive(Clone, Debug, Serialize)]
struct ErrorBody {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<String>,
    code: Option<&'static str>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: &'a ErrorBody,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, code: &'static str, message: String) -> Self {
        let body = ErrorBody { message, kind, param: None, code: Some(code) };
        Self { status, body, allow: None, retry_after: None, close: false, challenge: false }
    }

    fn bad_request(code: &'static str, message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID_REQUEST, code, message)
    }

    fn unavailable_for(code: &'static str, message: &str, retry_after: u32) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let error = Self::new(status, SERVER_ERROR, code, message.to_owned());
        Self { retry_after: Some(retry_after), ..error }
    }

    fn about(mut self, param: impl Into<String>) -> Self {
        self.body.param = Some(param.into());
        self
    }

    /// The connection is closed after it.
    pub(crate) fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    /// The body is no JSON object; `why` quotes none of it.
    pub(crate) fn invalid_json(why: impl fmt::Display) -> Self {
        Self::bad_request("invalid_json", format!("the body is not a valid JSON object: {why}"))
    }

    /// A field of another type than `expected`, which reads like "a string".
    pub(crate) fn invalid_type(param: &str, expected: &str, found: &str) -> Self {
        let message = format!("`{param}` must be {expected}, not {found}");
        Self::bad_request("invalid_type", message).about(param)
    }

    /// A field of the right type that holds nothing useful; `expected` reads like "0 to 2".
    pub(crate) fn invalid_value(param: &str, expected: impl fmt::Display) -> Self {
        let message = format!("`{param}` must be {expected}");
        Self::bad_request("invalid_value", message).about(param)
    }

    /// A field without which there is no request.
    pub(crate) fn missing(param: &str) -> Self {
        Self::bad_request("invalid_value", format!("`{param}` is required")).about(param)
    }

    /// A field that OpenAI's API, or a server like this, knows, and this one does not honour.
    pub(crate) fn unsupported(param: &str) -> Self {
        let message = format!("`{param}` is not supported by this server; leave it out");
        Self::bad_request("unsupported_parameter", message).about(param)
    }

    /// A field that nobody knows, where the client wants to hear of it.
    pub(crate) fn unknown_field(path: &str) -> Self {
        let path = quote(path);
        let message = format!("`{path}` is no field that this server knows; leave it out");
        Self::bad_request("unknown_parameter", message).about(path)
    }

    /// A list of several prompts.
    pub(crate) fn many_prompts(param: &str) -> Self {
        let message = format!(
            "`{param}` must be one prompt: lists of several are not supported by this server"
        );
        Self::bad_request("unsupported_parameter", message).about(param)
    }

    fn unauthorized(message: &str) -> Self {
        let (status, code) = (StatusCode::UNAUTHORIZED, "invalid_api_key");
        let error = Self::new(status, INVALID_REQUEST, code, message.to_owned());
        Self { challenge: true, ..error }
    }

    pub(crate) fn missing_key() -> Self {
        Self::unauthorized("a key is required: send `Authorization: Bearer KEY`")
    }

    pub(crate) fn malformed_key() -> Self {
        Self::unauthorized("the Authorization header must be `Bearer KEY`, once")
    }

    pub(crate) fn unknown_key() -> Self {
        Self::unauthorized("this key is not known")
    }

    pub(crate) fn not_an_admin() -> Self {
        Self::unauthorized("this takes a key of those who run the server (`http.admin_key_hashes`)")
    }

    /// A configuration that changes nothing, because it is wrong.
    pub(crate) fn invalid_configuration(why: &str) -> Self {
        Self::bad_request("invalid_configuration", why.chars().take(MESSAGE_CHARS_MAX).collect())
    }

    pub(crate) fn model_not_found(model: &str) -> Self {
        let message = format!("the model `{}` does not exist", quote(model));
        let status = StatusCode::NOT_FOUND;
        Self::new(status, INVALID_REQUEST, "model_not_found", message).about("model")
    }

    pub(crate) fn unknown_route(path: &str) -> Self {
        let message = format!("there is nothing at `{}`", quote(path));
        Self::new(StatusCode::NOT_FOUND, INVALID_REQUEST, "unknown_url", message)
    }

    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        let (status, code) = (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
        let error = Self::new(status, INVALID_REQUEST, code, format!("the method must be {allow}"));
        Self { allow: Some(allow), ..error }
    }

    pub(crate) fn not_json() -> Self {
        let (status, code) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type");
        let message = "the body must be JSON in UTF-8, and Content-Type application/json";
        Self::new(status, INVALID_REQUEST, code, message.to_owned())
    }

    pub(crate) fn encoded_body() -> Self {
        let (status, code) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type");
        let message = "the body must be sent as it is, without a Content-Encoding";
        Self::new(status, INVALID_REQUEST, code, message.to_owned())
    }

    pub(crate) fn body_too_large(bytes_max: usize) -> Self {
        let (status, code) = (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large");
        let message = format!("the body must have at most {bytes_max} bytes");
        Self::new(status, INVALID_REQUEST, code, message).closing()
    }

    pub(crate) fn body_timed_out() -> Self {
        let message = "the body took too long to arrive".to_owned();
        let status = StatusCode::REQUEST_TIMEOUT;
        Self::new(status, INVALID_REQUEST, "request_timeout", message).closing()
    }

    pub(crate) fn body_broken() -> Self {
        Self::bad_request("incomplete_body", "the body broke off".to_owned()).closing()
    }

    pub(crate) fn uri_too_long(bytes_max: usize) -> Self {
        let message = format!("the URL must have at most {bytes_max} bytes");
        Self::new(StatusCode::URI_TOO_LONG, INVALID_REQUEST, "uri_too_long", message).closing()
    }

    pub(crate) fn headers_too_large(bytes_max: usize) -> Self {
        let (status, code) = (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large");
        let message = format!("the headers must have at most {bytes_max} bytes");
        Self::new(status, INVALID_REQUEST, code, message).closing()
    }

    pub(crate) fn starting() -> Self {
        Self::unavailable_for("server_starting", "the server is starting", RETRY_LATER)
    }

    /// The connection is closed with it, so that the client's next one finds another server.
    pub(crate) fn shutting_down() -> Self {
        let message = "the server is shutting down";
        Self::unavailable_for("server_shutting_down", message, RETRY_LATER).closing()
    }

    pub(crate) fn unavailable() -> Self {
        let message = "the engine is not serving";
        Self::unavailable_for("engine_unavailable", message, RETRY_LATER)
    }

    /// The error as a JSON object, for a response or for an event.
    pub(crate) fn json(&self) -> String {
        let envelope = Envelope { error: &self.body };
        serde_json::to_string(&envelope).expect("strings always serialise")
    }

    /// The error as a whole answer.
    pub(crate) fn into_response(self) -> HttpResponse {
        self.error_response()
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.body.message)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.content_type("application/json");
        if let Some(allow) = self.allow {
            response.insert_header((ALLOW, allow));
        }
        if let Some(seconds) = self.retry_after {
            response.insert_header((RETRY_AFTER, seconds));
        }
        if self.challenge {
            response.insert_header((WWW_AUTHENTICATE, r#"Bearer realm="antiphon""#));
        }
        if self.close {
            response.force_close();
        }
        response.body(self.json())
    }
}

/// A client's own words, escaped and cut, fit for a message or a log.
pub(crate) fn quote(text: &str) -> String {
    let mut escaped = text.chars().flat_map(char::escape_debug);
    let mut quoted: String = escaped.by_ref().take(QUOTE_CHARS_MAX).collect();
    if escaped.next().is_some() {
        quoted.push('…');
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_is_escaped_and_bounded() {
        assert_eq!(quote("plain é"), "plain é");
        assert_eq!(quote("a\n\"\u{202e}\0"), "a\\n\\\"\\u{202e}\\0");
        assert_eq!(quote(&"x".repeat(64)), "x".repeat(64));
        assert_eq!(quote(&"x".repeat(65)), format!("{}…", "x".repeat(64)));
        assert_eq!(quote(&"\n".repeat(1000)).chars().count(), 65);
    }

    #[test]
    fn the_shape_is_openais() {
        assert_eq!(
            ApiError::invalid_value("temperature", "0 to 2").json(),
            r#"{"error":{"message":"`temperature` must be 0 to 2","type":"invalid_request_error","param":"temperature","code":"invalid_value"}}"#
        );
        assert_eq!(
            ApiError::invalid_json("expected value").json(),
            r#"{"error":{"message":"the body is not a valid JSON object: expected value","type":"invalid_request_error","param":null,"code":"invalid_json"}}"#
        );
    }
}
