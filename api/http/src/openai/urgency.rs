//! How urgent a request is, and by when it wants to be answered: fields of the body, or headers for
//! clients that cannot add fields. Where several say it, the sooner counts.

use std::time::Duration;

use actix_web::http::header::HeaderMap;
use runtime::Timeouts;

use super::ApiError;
use super::fields::{Field, Fields};

const REQUEST_TIMEOUT: &str = "x-request-timeout";
const QUEUE_TIMEOUT: &str = "x-queue-timeout";

/// In seconds.
const TIMEOUT_MIN: f64 = 0.001;
const TIMEOUT_MAX: f64 = 86_400.0;

/// What a request says of its urgency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Urgency {
    /// Among its tenant's own; 0 is the least.
    pub(crate) priority: u8,
    pub(crate) timeouts: Timeouts,
}

impl Urgency {
    /// Reads the fields `priority`, `timeout` and `queue_timeout`, both in seconds.
    ///
    /// # Errors
    /// The first field of a wrong type or value.
    pub(crate) fn read(fields: &mut Fields) -> Result<Self, ApiError> {
        let seconds = |field: Field| field.number(TIMEOUT_MIN, TIMEOUT_MAX);
        let mut timeout = |name| -> Result<Option<Duration>, ApiError> {
            let given = fields.optional(name).map(seconds).transpose()?;
            Ok(given.map(Duration::from_secs_f64))
        };
        let timeouts = Timeouts { whole: timeout("timeout")?, queue: timeout("queue_timeout")? };
        let priority =
            fields.optional("priority").map(|field| field.integer(0, 255)).transpose()?;
        let priority = u8::try_from(priority.unwrap_or(0)).expect("within the range asked for");
        Ok(Self { priority, timeouts })
    }
}

/// The timeouts that the headers ask for.
///
/// # Errors
/// The first header that is no number of seconds.
pub(crate) fn timeouts_of(headers: &HeaderMap) -> Result<Timeouts, ApiError> {
    let timeout = |name: &str| -> Result<Option<Duration>, ApiError> {
        let Some(value) = headers.get(name) else { return Ok(None) };
        let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
        match seconds.filter(|seconds| (TIMEOUT_MIN..=TIMEOUT_MAX).contains(seconds)) {
            Some(seconds) => Ok(Some(Duration::from_secs_f64(seconds))),
            None => {
                let expected = format_args!("{TIMEOUT_MIN} to {TIMEOUT_MAX} seconds");
                Err(ApiError::invalid_value(name, expected))
            }
        }
    };
    Ok(Timeouts { whole: timeout(REQUEST_TIMEOUT)?, queue: timeout(QUEUE_TIMEOUT)? })
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};
    use serde_json::{Value, json};

    use super::*;

    fn read(body: Value) -> Result<Urgency, String> {
        let Value::Object(object) = body else { panic!("an object") };
        Urgency::read(&mut Fields::new(object)).map_err(|error| error.to_string())
    }

    fn of_header(name: &'static str, value: &str) -> Result<Timeouts, String> {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        timeouts_of(&headers).map_err(|error| error.to_string())
    }

    #[test]
    fn fields_and_headers_are_seconds() {
        let timeouts = Timeouts {
            whole: Some(Duration::from_millis(1_500)),
            queue: Some(Duration::from_secs(2)),
        };
        let body = json!({"timeout": 1.5, "queue_timeout": 2, "priority": 9});
        assert_eq!(read(body), Ok(Urgency { priority: 9, timeouts }));
        assert_eq!(read(json!({"timeout": null})), Ok(Urgency::default()));
        assert_eq!(of_header("x-request-timeout", "1.5").unwrap().whole, timeouts.whole);
        assert_eq!(of_header("x-queue-timeout", " 2 ").unwrap().queue, timeouts.queue);
        assert_eq!(timeouts_of(&HeaderMap::new()).unwrap(), Timeouts::default());
    }

    #[test]
    fn what_is_outside_is_named() {
        let message = "`timeout` must be 0.001 to 86400";
        for value in [json!(0), json!(-1), json!(86_401), json!(1e300)] {
            assert_eq!(read(json!({"timeout": value})), Err(message.to_owned()));
        }
        assert_eq!(
            read(json!({"queue_timeout": "1"})),
            Err("`queue_timeout` must be a number, not a string".to_owned())
        );
        assert_eq!(read(json!({"priority": 256})), Err("`priority` must be 0 to 255".to_owned()));
        let message = "`x-request-timeout` must be 0.001 to 86400 seconds";
        for value in ["", "0", "soon", "NaN", "inf", "-1", "1e9"] {
            assert_eq!(of_header("x-request-timeout", value), Err(message.to_owned()), "{value}");
        }
    }
}
