//! The choices of a stream's chunks.

/// Who speaks, before what is said.
pub(crate) const OPENING: &str = concat!(
    r#"{"index":0,"delta":{"role":"assistant","content":""},"#,
    r#""logprobs":null,"finish_reason":null}"#
);

/// A piece of text and its log-probabilities, both JSON, and more members.
pub(crate) fn text(text: &str, logprobs: &str, members: &str) -> String {
    let head = r#"{"index":0,"delta":{"content":"#;
    [head, text, r#"},"logprobs":"#, logprobs, r#","finish_reason":null"#, members, "}"].concat()
}

/// The end.
pub(crate) fn finish(finish: &str) -> String {
    format!(r#"{{"index":0,"delta":{{}},"logprobs":null,"finish_reason":"{finish}"}}"#)
}
