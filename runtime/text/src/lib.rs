//! Tokens and text: tokeniser, incremental detokeniser, stop strings, chat template.
//!
//! No I/O beyond loading files, and no request or actor is known. Start reading at `Tokenizer`.

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user`, `assistant`, ...
    pub role: String,
    /// The text.
    pub content: String,
}
