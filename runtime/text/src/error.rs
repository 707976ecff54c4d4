//! Why a tokeniser or a template cannot be made or used.

use std::path::PathBuf;

/// Why a tokeniser cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A byte token is not written as one.
    #[error("token {id} stands for a byte but is {}; it should be <0x00> to <0xFF>", quote(.token))]
    ByteForm {
        /// The token's id.
        id: u32,
        /// Its text.
        token: String,
    },
    /// Two ids have the same token.
    #[error("tokens {first} and {second} are both {}", quote(.token))]
    DuplicateToken {
        /// The token.
        token: String,
        /// Its first id.
        first: u32,
        /// Its second id.
        second: u32,
    },
    /// There is not one token.
    #[error("the vocabulary has no tokens")]
    Empty,
    /// A control or user-defined token has no text to find it by.
    #[error("token {id} is a control or user-defined token, but its text is empty")]
    EmptyToken {
        /// The token's id.
        id: u32,
    },
    /// The file is not a tokeniser.
    #[error("{} is not a tokenizer.json: {reason}", path.display())]
    File {
        /// Where it is.
        path: PathBuf,
        /// What its reader says.
        reason: String,
    },
    /// A special token's id is not in the vocabulary.
    #[error("the {key} token's id is {id}, but there are {vocab} tokens")]
    IdOutOfRange {
        /// Which special token.
        key: &'static str,
        /// Its id.
        id: u32,
        /// The size of the vocabulary.
        vocab: u32,
    },
    /// The library below refuses what passed every check here.
    #[error("the tokeniser cannot be built: {0}")]
    Library(String),
    /// A list that says something of every token has another length.
    #[error("there are {tokens} tokens, but {len} {key}")]
    Lengths {
        /// Which list.
        key: &'static str,
        /// Its length.
        len: usize,
        /// The number of tokens.
        tokens: usize,
    },
    /// A merge is not two tokens with a space between.
    #[error("merge {index} is {}; it should be two tokens with one space between", quote(.merge))]
    MergeForm {
        /// Which merge.
        index: usize,
        /// Its text.
        merge: String,
    },
    /// A merge takes or makes what is not a token.
    #[error("merge {index} names {}, which is not a token", quote(.token))]
    MergeToken {
        /// Which merge.
        index: usize,
        /// What is not a token.
        token: String,
    },
    /// Prompts should begin with a token that is not named.
    #[error("prompts should begin with the bos token, but no bos token is named")]
    NoBos,
    /// A SentencePiece vocabulary cannot spell every text.
    #[error("the vocabulary has no token for the byte {0}; all 256 of <0x00> to <0xFF> are needed")]
    NoByteToken(String),
    /// A SentencePiece vocabulary has no scores.
    #[error("a llama vocabulary needs a score for every token, and has none")]
    NoScores,
    /// A token that is named for a role is not in the vocabulary.
    #[error("the {role} token is {}, which is no control token of the vocabulary", quote(.token))]
    RoleMissing {
        /// "bos" or "eos".
        role: &'static str,
        /// The token's text.
        token: String,
    },
    /// A score cannot be compared.
    #[error("the score of token {id} is not a number")]
    ScoreNotANumber {
        /// The token.
        id: u32,
    },
    /// A token is longer than a token can be.
    #[error("token {id} has {len} bytes; at most {max} are supported")]
    TokenTooLong {
        /// The token.
        id: u32,
        /// Its bytes.
        len: usize,
        /// The most that a token may have.
        max: usize,
    },
    /// The control or user-defined tokens are too many to look for.
    #[error("the control or user-defined tokens have {bytes} bytes; at most {max} are supported")]
    TooManyFixed {
        /// Their bytes.
        bytes: usize,
        /// The most that they may have.
        max: usize,
    },
    /// The pieces of a SentencePiece vocabulary can be made of each other in too many ways.
    #[error("the tokens can be merged in more than {max} ways, which no real vocabulary can")]
    TooManyMerges {
        /// The most ways.
        max: usize,
    },
    /// The ids do not fit their type.
    #[error("there are {tokens} tokens; at most 4294967295 are supported")]
    TooManyTokens {
        /// How many.
        tokens: usize,
    },
    /// The decoder of a tokenizer.json is none that is known.
    #[error("decoder {} is not supported; known are {known}", quote(.decoder))]
    UnknownDecoder {
        /// The decoder's kinds.
        decoder: String,
        /// Those that are known.
        known: &'static str,
    },
    /// GGUF has no such token type.
    #[error("token type {kind} is unknown; known are 1 to 6")]
    UnknownKind {
        /// The number.
        kind: i32,
    },
    /// The kind of tokeniser is none that is known.
    #[error("tokenizer model {} is not supported; known are {known}", quote(.model))]
    UnknownModel {
        /// Its name.
        model: String,
        /// Those that are known.
        known: &'static str,
    },
    /// What should stand for text without a token is itself no token.
    #[error("the unknown token {} is not in the vocabulary", quote(.token))]
    UnknownTokenMissing {
        /// The token.
        token: String,
    },
    /// The pre-tokeniser is none that is known.
    #[error("pre-tokenizer {} is not supported; known are {known}", quote(.pre))]
    UnknownPreTokenizer {
        /// Its name.
        pre: String,
        /// Those that are known.
        known: String,
    },
}

/// Why a chat template cannot be used, or refuses a conversation.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Rendering went wrong: the template and these messages do not fit.
    #[error("{0}")]
    Failed(String),
    /// The last message is to go on, and the template does not show once where it ends.
    #[error("the chat template does not show the last message in a way that can be continued")]
    NotContinued,
    /// The template itself called `raise_exception`; its own words.
    #[error("{0}")]
    Raised(String),
    /// The template is longer than a template can be.
    #[error("the chat template has {len} bytes; at most {max} are supported")]
    SourceTooLong {
        /// Its bytes.
        len: usize,
        /// The most that a template may have.
        max: usize,
    },
    /// The template is not Jinja.
    #[error("the chat template has a syntax error: {0}")]
    Syntax(String),
    /// Rendering took too many steps or too much memory, and was stopped.
    #[error("the chat template takes too long for these messages and was stopped")]
    TooMuchWork,
}

/// A token as a message may show it: escaped, and short whatever a hostile file holds.
fn quote(text: &str) -> String {
    const CHARS_MAX: usize = 64;
    let mut quoted: String = text.escape_debug().take(CHARS_MAX).collect();
    if text.escape_debug().nth(CHARS_MAX).is_some() {
        quoted.push('…');
    }
    format!("\"{quoted}\"")
}
