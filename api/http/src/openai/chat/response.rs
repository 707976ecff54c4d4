//! The choice of a whole answer.

/// `text` and `logprobs` are JSON.
pub(crate) fn choice(text: &str, logprobs: &str, finish: &str) -> String {
    let message = format!(r#"{{"role":"assistant","content":{text},"refusal":null}}"#);
    format!(r#"{{"index":0,"message":{message},"logprobs":{logprobs},"finish_reason":"{finish}"}}"#)
}
