//! Names of requests: the client's if it is harmless, else one of ours.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries a request's name, in and out.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

const LENGTH_MAX: usize = 128;
const MINTED_LENGTH: usize = 24;

/// The name of one HTTP request, made of `[A-Za-z0-9_-]` only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(String);

impl RequestId {
    /// The client's own name if it sent exactly one that is harmless, else a new one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(HEADER);
        match (given.next().and_then(|value| value.to_str().ok()), given.next()) {
            (Some(name), None) if is_harmless(name) => Self(name.to_owned()),
            _ => Self(format!("req_{}", mint(MINTED_LENGTH))),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("letters, digits, `_` and `-` are legal in a header")
    }
}

/// Random letters and digits: unique for all purposes, but no secret.
pub(crate) fn mint(length: usize) -> String {
    (0..length).map(|_| fastrand::alphanumeric()).collect()
}

fn is_harmless(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=LENGTH_MAX).contains(&name.len()) && name.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> RequestId {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_str(value).unwrap());
        }
        RequestId::of(&headers)
    }

    #[test]
    fn a_harmless_name_is_kept_and_any_other_replaced() {
        let longest = "x".repeat(128);
        for kept in ["a", "A-b_9", &longest] {
            assert_eq!(of(&[kept]).as_str(), kept);
        }
        for replaced in ["", "a b", "a\u{7c}b", "a.b", &"x".repeat(129)] {
            let id = of(&[replaced]);
            assert_ne!(id.as_str(), replaced);
            assert!(is_harmless(id.as_str()));
        }
        assert!(of(&["a", "b"]).as_str().starts_with("req_"), "two names are no name");
        assert_ne!(of(&[]), of(&[]));
    }
}
