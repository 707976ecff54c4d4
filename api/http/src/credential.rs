//! Who a request is from, by its `Authorization` header.
//!
//! Decided before a body is read. A key is hashed at once and goes no further: it is in no error,
//! no log line and no metric.

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use runtime::{Caller, KeyHash};

use crate::access::Access;
use crate::openai::ApiError;
use crate::server::Edge;

/// What the header holds.
#[derive(Debug, PartialEq, Eq)]
enum Credential {
    /// The hash of a key.
    Key(KeyHash),
    /// Something that is no single key.
    Malformed,
    /// There is none.
    None,
}

/// The tenant that a request is of. A server without tenants serves everybody, whatever they say.
///
/// # Errors
/// 401 that says what is wrong with the header.
pub(crate) fn caller(request: &HttpRequest, edge: &Edge) -> Result<Caller, ApiError> {
    let credential = match edge.handle.is_open() {
        true => Credential::None,
        false => Credential::of(request.headers()),
    };
    let caller = match &credential {
        Credential::Key(hash) => edge.handle.caller(Some(hash)),
        Credential::Malformed => return Err(ApiError::malformed_key()),
        Credential::None => edge.handle.caller(None),
    };
    let unknown = || match credential {
        Credential::Key(_) | Credential::Malformed => ApiError::unknown_key(),
        Credential::None => ApiError::missing_key(),
    };
    let caller = caller.ok_or_else(unknown)?;
    Access::of(request).called_by(&caller);
    Ok(caller)
}

/// Lets those through who run the server.
///
/// # Errors
/// 401 for everybody else, tenants included.
pub(crate) fn admin(request: &HttpRequest, edge: &Edge) -> Result<(), ApiError> {
    match Credential::of(request.headers()) {
        Credential::Key(hash) if edge.handle.is_admin(&hash) => Ok(()),
        Credential::Key(_) | Credential::Malformed | Credential::None => {
            Err(ApiError::not_an_admin())
        }
    }
}

impl Credential {
    fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION);
        let (Some(value), None) = (values.next(), values.next()) else {
            return if headers.contains_key(AUTHORIZATION) { Self::Malformed } else { Self::None };
        };
        let Some((scheme, key)) = value.to_str().ok().and_then(|text| text.split_once(' ')) else {
            return Self::Malformed;
        };
        // RFC 6750: one token of these characters; RFC 9110: the scheme's case does not matter.
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        let is_one = !key.is_empty() && key.bytes().all(is_legal);
        if scheme.eq_ignore_ascii_case("bearer") && is_one {
            Self::Key(KeyHash::of(key))
        } else {
            Self::Malformed
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn of(values: &[&str]) -> Credential {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        Credential::of(&headers)
    }

    #[test]
    fn one_bearer_token_is_a_key_and_nothing_else_is() {
        let key = Credential::Key(KeyHash::of("sk-a.b_c~1+/="));
        assert_eq!(of(&["Bearer sk-a.b_c~1+/="]), key);
        assert_eq!(of(&["bearer sk-a.b_c~1+/="]), key);
        assert_eq!(of(&[]), Credential::None);
        for malformed in [
            &[""][..],
            &["Bearer"],
            &["Bearer "],
            &["Bearer a b"],
            &["Bearer  a"],
            &["Bearer a,b"],
            &["Basic YTpi"],
            &["sk-a"],
            &["Bearer a", "Bearer a"],
        ] {
            assert_eq!(of(malformed), Credential::Malformed, "{malformed:?}");
        }
    }
}
