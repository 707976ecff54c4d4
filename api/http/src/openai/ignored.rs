//! Fields that nobody here knows: accepted, and named to the client in one header; or refused,
//! where the client asks for that in another.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use super::ApiError;

/// The header that lists them.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-antiphon-ignored-fields");

/// The header of a request whose unknown fields are to be refused.
const STRICT: &str = "x-antiphon-strict";

/// Most bytes of the list. What is beyond is told by a closing `...`.
const BYTES_MAX: usize = 512;
const NAME_CHARS_MAX: usize = 64;

/// The list, as it is sent.
#[derive(Default)]
pub(crate) struct Ignored {
    list: String,
    is_cut: bool,
    /// The path of the first.
    first: Option<String>,
}

impl Ignored {
    /// Adds a field. What could mean something in a header becomes `?`.
    pub(crate) fn add(&mut self, path: &str) {
        self.first.get_or_insert_with(|| path.to_owned());
        if self.is_cut {
            return;
        }
        let separator = if self.list.is_empty() { "" } else { ", " };
        let name: String = path.chars().take(NAME_CHARS_MAX).map(harmless).collect();
        if self.list.len() + separator.len() + name.len() > BYTES_MAX {
            self.list.push_str(", ...");
            self.is_cut = true;
            return;
        }
        self.list.push_str(separator);
        self.list.push_str(&name);
    }

    /// Refuses the first of them, if the head of the request asks for that.
    ///
    /// # Errors
    /// There is one, or the header says neither `true` nor `false`.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let is_strict = match headers.get(STRICT).map(HeaderValue::as_bytes) {
            Some(b"true") => true,
            Some(b"false") | None => false,
            Some(_) => return Err(ApiError::invalid_value(STRICT, "true or false")),
        };
        match &self.first {
            Some(path) if is_strict => Err(ApiError::unknown_field(path)),
            Some(_) | None => Ok(()),
        }
    }

    /// The header's value; `None` when nothing was ignored.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let value = || HeaderValue::from_str(&self.list).expect("harmless characters only");
        (!self.list.is_empty()).then(value)
    }
}

const fn harmless(given: char) -> char {
    match given {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '.' | '[' | ']' => given,
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sanitised_and_bounded() {
        let mut ignored = Ignored::default();
        assert!(ignored.header().is_none());
        ignored.add("foo");
        ignored.add("a\r\nSet-Cookie: é");
        assert_eq!(ignored.header().unwrap(), "foo, a??Set-Cookie???");
        for _ in 0..1000 {
            ignored.add(&"x".repeat(1000));
        }
        let value = ignored.header().unwrap();
        assert!(value.len() <= BYTES_MAX + 5);
        assert!(value.to_str().unwrap().ends_with("x, ..."));
    }
}
