//! The choice of a whole answer.

/// `text` is a JSON string.
pub(crate) fn choice(text: &str, finish: &str) -> String {
    format!(r#"{{"text":{text},"index":0,"logprobs":null,"finish_reason":"{finish}"}}"#)
}
