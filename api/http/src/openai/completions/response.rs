//! The choice of a whole answer.

/// `text` and `logprobs` are JSON, and so are `members`, each with a comma before it.
pub(crate) fn choice(text: &str, logprobs: &str, finish: &str, members: &str) -> String {
    let head = format!(r#"{{"text":{text},"index":0,"logprobs":{logprobs},"#);
    format!(r#"{head}"finish_reason":"{finish}"{members}}}"#)
}
