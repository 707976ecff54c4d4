//! What a tenant may still take, in the headers that OpenAI's API has for it.

use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use runtime::{Reading, Standing};

/// The three headers of one rate: its limit, what remains, when it is whole again.
type Names = [HeaderName; 3];

const REQUESTS: Names = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];

const TOKENS: Names = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// Adds the headers of the rates that the tenant has.
pub(crate) fn tell(standing: Standing, headers: &mut HeaderMap) {
    for (reading, names) in [(standing.requests, REQUESTS), (standing.tokens, TOKENS)] {
        let Some(Reading { limit, remaining, reset }) = reading else { continue };
        let values = [limit.to_string(), remaining.to_string(), spell(reset)];
        for (name, value) in names.into_iter().zip(values) {
            let value = HeaderValue::from_str(&value).expect("digits and letters");
            headers.insert(name, value);
        }
    }
}

/// A duration in OpenAI's way: `20ms`, `1.5s`, `6m0s`, `1h0m0s`. What is begun counts.
fn spell(duration: Duration) -> String {
    let millis = duration.as_micros().div_ceil(1_000);
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let seconds = match (rest / 1_000, rest % 1_000) {
        (whole, 0) => format!("{whole}s"),
        (whole, part) => format!("{}s", format!("{whole}.{part:03}").trim_end_matches('0')),
    };
    match (minutes / 60, minutes % 60) {
        (0, 0) if millis < 1_000 && millis > 0 => format!("{millis}ms"),
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_spelled_as_openai_does() {
        for (micros, spelled) in [
            (0, "0s"),
            (1, "1ms"),
            (20_000, "20ms"),
            (1_000_000, "1s"),
            (1_500_000, "1.5s"),
            (8_640_000, "8.64s"),
            (59_999_999, "1m0s"),
            (360_000_000, "6m0s"),
            (3_600_000_000, "1h0m0s"),
            (5_025_250_000, "1h23m45.25s"),
        ] {
            assert_eq!(spell(Duration::from_micros(micros)), spelled);
        }
    }

    #[test]
    fn a_rate_that_is_not_there_has_no_header() {
        let reading = Reading { limit: 60, remaining: 59, reset: Duration::from_secs(1) };
        let mut headers = HeaderMap::new();
        tell(Standing { requests: Some(reading), tokens: None }, &mut headers);
        let mut told: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value)).collect();
        told.sort();
        let expected = [
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1s"),
        ];
        assert!(told.iter().map(|(name, value)| (*name, value.to_str().unwrap())).eq(expected));
    }
}
