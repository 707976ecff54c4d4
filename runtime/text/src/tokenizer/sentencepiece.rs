//! SentencePiece's BPE: spaces are written `▁`, pieces are merged by score over the whole text, and
//! what has no piece is spelled in bytes.
//!
//! The scores become ranked merges: every way to cut a piece into two pieces merges with that
//! piece's score, the highest first, as Hugging Face's conversion of such vocabularies does.

use std::collections::HashMap;

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence};

use super::pieces::Pieces;
use crate::{TokenKind, TokenizerError, Vocabulary};

/// The library's tokeniser of a `llama` vocabulary.
pub(super) fn build(
    vocabulary: &Vocabulary,
    index: &HashMap<&str, u32>,
) -> Result<tokenizers::Tokenizer, TokenizerError> {
    if vocabulary.scores.is_empty() {
        return Err(TokenizerError::NoScores);
    }
    check_bytes(vocabulary, index)?;
    let vocab: Vocab = (0u32..)
        .zip(&vocabulary.tokens)
        .filter(|&(id, _)| !vocabulary.kind(id).is_control())
        .map(|(id, token)| (token.clone(), id))
        .collect();
    let library_error = |error: tokenizers::Error| TokenizerError::Library(error.to_string());
    let bpe = BPE::builder()
        .vocab_and_merges(vocab, merges(vocabulary, index)?)
        .byte_fallback(true)
        .build()
        .map_err(library_error)?;
    let mut normalizers: Vec<NormalizerWrapper> = Vec::with_capacity(2);
    if vocabulary.add_space_prefix {
        normalizers.push(Prepend::new(SPACE.to_string()).into());
    }
    normalizers.push(Replace::new(" ", SPACE.to_string()).map_err(library_error)?.into());
    let mut library = tokenizers::Tokenizer::new(bpe);
    library.with_normalizer(Some(Sequence::new(normalizers)));
    Ok(library)
}

/// Every byte needs its token: no text may get lost.
fn check_bytes(vocabulary: &Vocabulary, index: &HashMap<&str, u32>) -> Result<(), TokenizerError> {
    for byte in 0..=u8::MAX {
        let token = format!("<0x{byte:02X}>");
        let id = index.get(token.as_str());
        if !id.is_some_and(|&id| vocabulary.kind(id) == TokenKind::Byte) {
            return Err(TokenizerError::NoByteToken(token));
        }
    }
    Ok(())
}

/// Every pair of pieces that makes a piece, the one with the highest score first.
fn merges(vocabulary: &Vocabulary, index: &HashMap<&str, u32>) -> Result<Merges, TokenizerError> {
    let text_id =
        |piece: &str| index.get(piece).copied().filter(|&id| is_text(vocabulary.kind(id)));
    let merges_max = vocabulary.tokens.len() * MERGES_A_TOKEN_MAX;
    let mut ranked: Vec<(f32, u32, u32, u32)> = Vec::new();
    for (id, (token, &score)) in (0u32..).zip(vocabulary.tokens.iter().zip(&vocabulary.scores)) {
        if score.is_nan() {
            return Err(TokenizerError::ScoreNotANumber { id });
        }
        if !is_text(vocabulary.kind(id)) {
            continue;
        }
        if token.len() > TOKEN_BYTES_MAX {
            let len = token.len();
            return Err(TokenizerError::TokenTooLong { id, len, max: TOKEN_BYTES_MAX });
        }
        for (cut, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(cut);
            if let (Some(left), Some(right)) = (text_id(left), text_id(right)) {
                ranked.push((score, id, left, right));
            }
        }
        if ranked.len() > merges_max {
            return Err(TokenizerError::TooManyMerges { max: merges_max });
        }
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2, a.3).cmp(&(b.1, b.2, b.3))));
    let token = |id: u32| vocabulary.tokens[id as usize].clone();
    Ok(ranked.into_iter().map(|(_, _, left, right)| (token(left), token(right))).collect())
}

/// Whether a piece of this kind is made by merging.
fn is_text(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Normal | TokenKind::UserDefined => true,
        TokenKind::Byte | TokenKind::Control | TokenKind::Unknown | TokenKind::Unused => false,
    }
}

/// The bytes of every token.
pub(super) fn pieces(vocabulary: &Vocabulary) -> Result<Pieces, TokenizerError> {
    let bytes = vocabulary.tokens.iter().map(String::len).sum();
    let mut pieces = Pieces::with_capacity(vocabulary.tokens.len(), bytes);
    for (id, token) in (0u32..).zip(&vocabulary.tokens) {
        match vocabulary.kind(id) {
            TokenKind::Byte => {
                let byte = byte(token)
                    .ok_or_else(|| TokenizerError::ByteForm { id, token: token.clone() })?;
                pieces.push([byte]);
            }
            TokenKind::Control | TokenKind::Unknown => pieces.push(token.bytes()),
            TokenKind::Normal | TokenKind::Unused | TokenKind::UserDefined => {
                pieces.push(decode(token).bytes());
            }
        }
    }
    Ok(pieces)
}

/// The text of a piece.
pub(super) fn decode(piece: &str) -> String {
    piece.replace(SPACE, " ")
}

/// The byte that `<0xNN>` stands for.
pub(super) fn byte(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

/// How SentencePiece writes a space.
const SPACE: char = '▁';

/// Each piece is looked up once for every way to cut it, so a hostile one must not be long.
const TOKEN_BYTES_MAX: usize = 256;
/// Ways to merge, for each token on average; real vocabularies have about two.
const MERGES_A_TOKEN_MAX: usize = 16;
