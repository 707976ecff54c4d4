//! The choices of a stream's chunks.

/// A piece of text, which is a JSON string.
pub(crate) fn text(text: &str) -> String {
    [r#"{"text":"#, text, r#","index":0,"logprobs":null,"finish_reason":null}"#].concat()
}

/// The end.
pub(crate) fn finish(finish: &str) -> String {
    format!(r#"{{"text":"","index":0,"logprobs":null,"finish_reason":"{finish}"}}"#)
}
