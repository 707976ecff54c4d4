//! What the runtime says against a request, as a client hears it: why it did not start, and why its
//! output is not complete.

use actix_web::http::StatusCode;
use runtime::{Failure, QueueBound, RateLimit, Refused, Rejected, micros};

use super::{ApiError, INVALID_REQUEST, RETRY_SOON, SERVER_ERROR, quote};

impl ApiError {
    /// A prompt that did not start; `prompt` is the field that it came in.
    pub(crate) fn refused(refused: &Refused, prompt: &str) -> Self {
        match refused {
            Refused::NoChatTemplate => {
                Self::bad_request("no_chat_template", refused.to_string()).about(prompt)
            }
            Refused::RateLimited { limit, retry_after, .. } => {
                let seconds = whole_seconds(micros(*retry_after));
                Self::rate_limited(*limit, refused.to_string(), seconds)
            }
            Refused::Rejected(rejected) => Self::rejected(*rejected, prompt),
            Refused::Template(why) => {
                let message = format!("the chat template refused the messages: {}", quote(why));
                Self::bad_request("invalid_value", message).about(prompt)
            }
            Refused::Unavailable => Self::unavailable(),
            Refused::UnknownCaller => Self::missing_key(),
            Refused::UnknownToken { .. } => {
                Self::bad_request("invalid_value", refused.to_string()).about(prompt)
            }
        }
    }

    fn rejected(rejected: Rejected, prompt: &str) -> Self {
        let message = rejected.to_string();
        let retry_after = rejected.retry_after_us().map_or(RETRY_SOON, whole_seconds);
        match rejected {
            Rejected::ContextExceeded { .. }
            | Rejected::ExceedsCache { .. }
            | Rejected::ExceedsShare { .. } => {
                Self::bad_request("context_length_exceeded", message).about(prompt)
            }
            Rejected::DeadlinePassed => Self::failed(Failure::DeadlinePassed),
            Rejected::Draining => Self::shutting_down(),
            Rejected::EmptyPrompt => Self::bad_request("invalid_value", message).about(prompt),
            Rejected::QueueFull { .. } => {
                Self::unavailable_for("server_overloaded", &message, retry_after)
            }
            Rejected::TenantQueueFull { bound, .. } => {
                let limited = match bound {
                    QueueBound::Requests(_) => RateLimit::Requests,
                    QueueBound::Tokens(_) => RateLimit::Tokens,
                };
                Self::rate_limited(limited, message, retry_after)
            }
            // The table was replaced while the request was on its way.
            Rejected::UnknownTenant(_) => Self::unknown_key(),
        }
    }

    /// An output that ended without being complete.
    pub(crate) fn failed(failure: Failure) -> Self {
        match failure {
            Failure::DeadlinePassed => {
                let message = "the deadline of the request passed".to_owned();
                let status = StatusCode::GATEWAY_TIMEOUT;
                Self::new(status, SERVER_ERROR, "deadline_exceeded", message)
            }
            Failure::Draining => Self::shutting_down(),
            Failure::Engine => {
                let message = "the engine failed before the output was complete";
                Self::unavailable_for("engine_failed", message, RETRY_SOON)
            }
            Failure::NotFinite => {
                let message = "the model computed no number for this request".to_owned();
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Self::new(status, SERVER_ERROR, "server_error", message)
            }
            Failure::Stalled => {
                let message = "the client took nothing for too long".to_owned();
                let status = StatusCode::REQUEST_TIMEOUT;
                Self::new(status, INVALID_REQUEST, "client_stalled", message).closing()
            }
        }
    }

    /// A limit of the tenant's own is reached; `limited` is what it limits.
    fn rate_limited(limited: RateLimit, message: String, retry_after: u32) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let error = Self::new(status, limited.name(), "rate_limit_exceeded", message);
        Self { retry_after: Some(retry_after), ..error }
    }
}

/// Seconds that a client is told to wait: none tells it to come back at once.
fn whole_seconds(microseconds: u64) -> u32 {
    const MOST: u64 = 3600;
    microseconds.div_ceil(1_000_000).clamp(RETRY_SOON.into(), MOST) as u32
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError as _;
    use actix_web::http::header::RETRY_AFTER;

    use super::*;

    #[test]
    fn refusals_carry_their_status_and_both_numbers() {
        let rejected = |rejected| ApiError::refused(&Refused::Rejected(rejected), "messages");
        let long = rejected(Rejected::ContextExceeded { prompt: 9000, context: 8192 });
        assert_eq!(long.status_code(), 400);
        assert_eq!(long.body.code, Some("context_length_exceeded"));
        assert_eq!(long.body.param.as_deref(), Some("messages"));
        assert!(long.body.message.contains("9000") && long.body.message.contains("8192"));

        let bound = QueueBound::Requests(256);
        for (retry_after_us, seconds) in
            [(None, "1"), (Some(10), "1"), (Some(2_000_001), "3"), (Some(u64::MAX), "3600")]
        {
            let full = Rejected::QueueFull { waiting: 256, bound, retry_after_us };
            let full = rejected(full).into_response();
            assert_eq!(full.status(), 503);
            assert_eq!(full.headers().get(RETRY_AFTER).unwrap(), seconds);

            let full = Rejected::TenantQueueFull { waiting: 256, bound, retry_after_us };
            let full = rejected(full).into_response();
            assert_eq!(full.status(), 429);
            assert_eq!(full.headers().get(RETRY_AFTER).unwrap(), seconds);

            let retry_after = std::time::Duration::from_micros(retry_after_us.unwrap_or(0));
            let limit = RateLimit::Tokens;
            let limited = Refused::RateLimited { limit, per_minute: 60, retry_after };
            let limited = ApiError::refused(&limited, "messages");
            assert_eq!(
                (limited.body.kind, limited.body.code),
                ("tokens", Some("rate_limit_exceeded"))
            );
            assert!(limited.body.message.contains("60 tokens a minute"), "{limited}");
            let limited = limited.into_response();
            assert_eq!(limited.status(), 429);
            assert_eq!(limited.headers().get(RETRY_AFTER).unwrap(), seconds);
        }
    }

    #[test]
    fn failures_are_the_servers_unless_the_client_stalled() {
        let of = |failure| {
            let error = ApiError::failed(failure);
            (error.status.as_u16(), error.body.kind, error.body.code.unwrap(), error.close)
        };
        let expected = (503, SERVER_ERROR, "server_shutting_down", true);
        assert_eq!(of(Failure::Draining), expected);
        let expected = (504, SERVER_ERROR, "deadline_exceeded", false);
        assert_eq!(of(Failure::DeadlinePassed), expected);
        assert_eq!(of(Failure::Engine), (503, SERVER_ERROR, "engine_failed", false));
        assert_eq!(of(Failure::NotFinite), (500, SERVER_ERROR, "server_error", false));
        assert_eq!(of(Failure::Stalled), (408, INVALID_REQUEST, "client_stalled", true));
    }
}
