//! The choice of a whole answer.

/// `text` and `logprobs` are JSON, and so are `members`, each with a comma before it.
pub(crate) fn choice(text: &str, logprobs: &str, finish: &str, members: &str) -> String {
    let message = format!(r#"{{"role":"assistant","content":{text},"refusal":null}}"#);
    let head = format!(r#"{{"index":0,"message":{message},"logprobs":{logprobs},"#);
    format!(r#"{head}"finish_reason":"{finish}"{members}}}"#)
}
