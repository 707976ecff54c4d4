//! The choice of a whole answer.

/// `text` and `logprobs` are JSON.
pub(crate) fn choice(text: &str, logprobs: &str, finish: &str) -> String {
    format!(r#"{{"text":{text},"index":0,"logprobs":{logprobs},"finish_reason":"{finish}"}}"#)
}
