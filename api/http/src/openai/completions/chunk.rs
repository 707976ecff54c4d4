//! The choices of a stream's chunks.

/// A piece of text and its log-probabilities, both JSON, and more members.
pub(crate) fn text(text: &str, logprobs: &str, members: &str) -> String {
    let middle = r#","index":0,"logprobs":"#;
    [r#"{"text":"#, text, middle, logprobs, r#","finish_reason":null"#, members, "}"].concat()
}

/// The end.
pub(crate) fn finish(finish: &str) -> String {
    format!(r#"{{"text":"","index":0,"logprobs":null,"finish_reason":"{finish}"}}"#)
}
