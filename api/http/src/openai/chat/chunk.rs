//! The choices of a stream's chunks.

/// Who speaks, before what is said.
pub(crate) const OPENING: &str = concat!(
    r#"{"index":0,"delta":{"role":"assistant","content":""},"#,
    r#""logprobs":null,"finish_reason":null}"#
);

/// A piece of text, which is a JSON string.
pub(crate) fn text(text: &str) -> String {
    [r#"{"index":0,"delta":{"content":"#, text, r#"},"logprobs":null,"finish_reason":null}"#]
        .concat()
}

/// The end.
pub(crate) fn finish(finish: &str) -> String {
    format!(r#"{{"index":0,"delta":{{}},"logprobs":null,"finish_reason":"{finish}"}}"#)
}
