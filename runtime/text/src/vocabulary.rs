//! What a model file says of its tokens, and whether that makes sense.

use std::collections::HashMap;

use crate::TokenizerError;

/// A model's vocabulary as its file carries it, in the words of GGUF's `tokenizer.ggml.*` keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vocabulary {
    /// The kind of tokeniser: `gpt2` (byte-level BPE) or `llama` (SentencePiece).
    pub model: String,
    /// The name of the pre-tokeniser of a `gpt2` vocabulary.
    pub pre: Option<String>,
    /// The tokens, by id. Those of a `gpt2` vocabulary are in the byte-level alphabet.
    pub tokens: Vec<String>,
    /// The kind of each token; empty if all are [`TokenKind::Normal`].
    pub kinds: Vec<TokenKind>,
    /// The score of each token of a `llama` vocabulary; the higher, the earlier it is merged.
    pub scores: Vec<f32>,
    /// Pairs of tokens, each `left right`, in the order in which a `gpt2` vocabulary merges them.
    pub merges: Vec<String>,
    /// The token that begins a sequence.
    pub bos: Option<u32>,
    /// The token that ends a sequence.
    pub eos: Option<u32>,
    /// The token that ends a turn of a conversation.
    pub eot: Option<u32>,
    /// The token that stands for what has no token.
    pub unknown: Option<u32>,
    /// Whether a prompt begins with [`Self::bos`].
    pub add_bos: bool,
    /// Whether a `llama` vocabulary takes text as if a space stood before it.
    pub add_space_prefix: bool,
}

/// What a token is for; the numbers are GGUF's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenKind {
    /// 6: one byte, written `<0xNN>`.
    Byte,
    /// 3: structure, not text: it has no text of its own, and text becomes it only where that is
    /// asked for.
    Control,
    /// 1: text.
    #[default]
    Normal,
    /// 2: stands for what has no token.
    Unknown,
    /// 5: a place left free.
    Unused,
    /// 4: text that is always this one token, whatever surrounds it.
    UserDefined,
}

impl TokenKind {
    /// Whether a token of this kind is structure rather than text.
    pub(crate) fn is_control(self) -> bool {
        matches!(self, Self::Control | Self::Unknown)
    }
}

impl TryFrom<i32> for TokenKind {
    type Error = TokenizerError;

    /// # Errors
    /// [`TokenizerError::UnknownKind`] if GGUF has no such token type.
    fn try_from(kind: i32) -> Result<Self, TokenizerError> {
        Ok(match kind {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            kind => return Err(TokenizerError::UnknownKind { kind }),
        })
    }
}

impl Vocabulary {
    /// The kind of a token that exists.
    pub(crate) fn kind(&self, id: u32) -> TokenKind {
        self.kinds.get(id as usize).copied().unwrap_or_default()
    }

    /// Every token's id, after checking that the parts of the vocabulary fit each other.
    pub(crate) fn index(&self) -> Result<HashMap<&str, u32>, TokenizerError> {
        if self.tokens.is_empty() {
            return Err(TokenizerError::Empty);
        }
        let vocab = u32::try_from(self.tokens.len())
            .map_err(|_| TokenizerError::TooManyTokens { tokens: self.tokens.len() })?;
        self.check_length("kinds", self.kinds.len())?;
        self.check_length("scores", self.scores.len())?;
        for (key, id) in [("bos", self.bos), ("eos", self.eos), ("eot", self.eot)] {
            check_id(key, id, vocab)?;
        }
        check_id("unknown", self.unknown, vocab)?;
        if self.add_bos && self.bos.is_none() {
            return Err(TokenizerError::NoBos);
        }
        let mut index = HashMap::with_capacity(self.tokens.len());
        for (id, token) in (0..vocab).zip(&self.tokens) {
            if let Some(first) = index.insert(token.as_str(), id) {
                return Err(TokenizerError::DuplicateToken {
                    token: token.clone(),
                    first,
                    second: id,
                });
            }
        }
        Ok(index)
    }

    fn check_length(&self, key: &'static str, len: usize) -> Result<(), TokenizerError> {
        if len != 0 && len != self.tokens.len() {
            return Err(TokenizerError::Lengths { key, len, tokens: self.tokens.len() });
        }
        Ok(())
    }
}

fn check_id(key: &'static str, id: Option<u32>, vocab: u32) -> Result<(), TokenizerError> {
    match id {
        Some(id) if id >= vocab => Err(TokenizerError::IdOutOfRange { key, id, vocab }),
        _ => Ok(()),
    }
}
