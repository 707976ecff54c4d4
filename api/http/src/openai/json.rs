//! A body as a JSON object, within a budget.
//!
//! The parser refuses nesting deeper than 127 before it recurses, invalid UTF-8, lone surrogates
//! and numbers that no double holds. Of a key given twice the last one counts.

use serde_json::{Map, Value};

use super::ApiError;

/// Most values in a body. A value takes tens of bytes in memory and as few as two on the wire, so
/// that the size of the body alone bounds little.
const VALUES_MAX: usize = 1 << 18;

/// Parses a whole body.
///
/// # Errors
/// `invalid_json` for everything but one object within the budget.
pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if values_at_most(body) > VALUES_MAX {
        return Err(ApiError::invalid_json(format_args!("more than {VALUES_MAX} values")));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(ApiError::invalid_json(format_args!("it is {}", kind(&other)))),
        Err(error) => Err(ApiError::invalid_json(error)),
    }
}

/// What a value is, in a client's words.
pub(crate) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// An upper bound of the values in a body: each follows a comma or the start of a list or an
/// object.
fn values_at_most(body: &[u8]) -> usize {
    let (mut values, mut in_string, mut escaped) = (1, false, false);
    for byte in body {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b',' | b'[' | b'{') => values += 1,
            _ => {}
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &[u8]) -> String {
        object(body).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(128), "]".repeat(128));
        let bodies: [&[u8]; 15] = [
            b"",
            b"nonsense",
            b"[]",
            b"null",
            b"\"text\"",
            b"{",
            br#"{"a":1}x"#,
            br#"{"a":NaN}"#,
            br#"{"a":1e400}"#,
            br#"{"a":"\ud800"}"#,
            br#"{"a":"\udc00\ud800"}"#,
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\n\"}",
            b"\xef\xbb\xbf{}",
            deep.as_bytes(),
        ];
        for body in bodies {
            let message = refusal(body);
            assert!(message.starts_with("the body is not a valid JSON object: "), "{message}");
        }
    }

    #[test]
    fn of_a_key_given_twice_the_last_counts() {
        assert_eq!(object(br#"{"n":1,"n":2}"#).unwrap()["n"], 2);
    }

    #[test]
    fn the_budget_counts_values_and_not_text() {
        let list = |values: usize| format!(r#"{{"a":[{}0]}}"#, "0,".repeat(values - 1));
        assert!(object(list(VALUES_MAX - 3).as_bytes()).is_ok());
        assert!(refusal(list(VALUES_MAX).as_bytes()).contains("more than"));
        let text = format!(r#"{{"a":"{}\"{}"}}"#, ",[{".repeat(VALUES_MAX), ",".repeat(9));
        assert!(object(text.as_bytes()).is_ok());
    }
}
