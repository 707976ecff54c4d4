//! The choice of a whole answer.

/// `text` is a JSON string.
pub(crate) fn choice(text: &str, finish: &str) -> String {
    let message = format!(r#"{{"role":"assistant","content":{text},"refusal":null}}"#);
    format!(r#"{{"index":0,"message":{message},"logprobs":null,"finish_reason":"{finish}"}}"#)
}
