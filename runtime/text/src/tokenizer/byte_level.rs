//! Byte-level BPE, as GPT-2 introduced it: every byte is written as one printable character, and
//! characters are merged to tokens.

use std::collections::{HashMap, HashSet};

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::{Model as _, NormalizedString};

use super::pieces::Pieces;
use super::pretokenizer::{PreTokenizer, Words};
use crate::{TokenKind, TokenizerError, Vocabulary};

/// The library's model with a shorter way to it: the library's own pipeline keeps account of where
/// every character came from, which costs three times as much as the tokens.
pub(super) struct ByteLevel {
    compose: bool,
    words: Words,
    spelled_words: Words,
    chars: [char; 256],
    bpe: BPE,
}

impl ByteLevel {
    /// The model of a `gpt2` vocabulary.
    pub(super) fn new(
        vocabulary: &Vocabulary,
        index: &HashMap<&str, u32>,
    ) -> Result<Self, TokenizerError> {
        let pre = PreTokenizer::named(vocabulary.pre.as_deref())?;
        let (merges, merged) = merges(&vocabulary.merges, index)?;
        let bpe = BPE::builder()
            .vocab_and_merges(text_tokens(vocabulary, &merged), merges)
            .ignore_merges(pre.whole_words)
            .build()
            .map_err(|error| TokenizerError::Library(error.to_string()))?;
        Ok(Self {
            compose: pre.compose,
            words: pre.words()?,
            spelled_words: pre.spelled_words()?,
            chars: chars(),
            bpe,
        })
    }

    /// Appends the tokens of `text`. A byte that has no token is left out, as the library does.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        if self.compose && !text.is_ascii() {
            let mut composed = NormalizedString::from(text);
            composed.nfc();
            self.encode_composed(composed.get(), ids);
        } else {
            self.encode_composed(text, ids);
        }
    }

    fn encode_composed(&self, text: &str, ids: &mut Vec<u32>) {
        let mut spelled = String::new();
        self.words.each(text, &mut |word| {
            spelled.clear();
            spelled.extend(word.bytes().map(|byte| self.chars[usize::from(byte)]));
            self.spelled_words.each(&spelled, &mut |word| {
                let tokens = self.bpe.tokenize(word).expect("only an unknown token can fail");
                ids.extend(tokens.iter().map(|token| token.id));
            });
        });
    }
}

/// The tokens that text may become without being written out: control tokens are not among them,
/// unless a merge needs one.
fn text_tokens(vocabulary: &Vocabulary, merged: &HashSet<u32>) -> Vocab {
    (0u32..)
        .zip(&vocabulary.tokens)
        .filter(|(id, _)| !vocabulary.kind(*id).is_control() || merged.contains(id))
        .map(|(id, token)| (token.clone(), id))
        .collect()
}

/// The pairs that are merged, each known to be two tokens that make a third, and the ids of all
/// three.
fn merges(
    lines: &[String],
    index: &HashMap<&str, u32>,
) -> Result<(Merges, HashSet<u32>), TokenizerError> {
    let mut merges = Vec::with_capacity(lines.len());
    let mut merged = HashSet::with_capacity(lines.len());
    let mut whole = String::new();
    for (number, line) in lines.iter().enumerate() {
        let (left, right) = line
            .split_once(' ')
            .filter(|(left, right)| !left.is_empty() && !right.is_empty() && !right.contains(' '))
            .ok_or_else(|| TokenizerError::MergeForm { index: number, merge: line.clone() })?;
        whole.clear();
        whole.push_str(left);
        whole.push_str(right);
        for token in [left, right, whole.as_str()] {
            let id = index.get(token).ok_or_else(|| {
                let token = token.to_owned();
                TokenizerError::MergeToken { index: number, token }
            })?;
            merged.insert(*id);
        }
        merges.push((left.to_owned(), right.to_owned()));
    }
    Ok((merges, merged))
}

/// The bytes of every token.
pub(super) fn pieces(vocabulary: &Vocabulary) -> Pieces {
    let alphabet = alphabet();
    let bytes = vocabulary.tokens.iter().map(String::len).sum();
    let mut pieces = Pieces::with_capacity(vocabulary.tokens.len(), bytes);
    for (id, token) in (0u32..).zip(&vocabulary.tokens) {
        match vocabulary.kind(id) {
            TokenKind::Normal | TokenKind::Unused | TokenKind::Byte => {
                pieces.push(decode(token, &alphabet));
            }
            TokenKind::Control | TokenKind::Unknown | TokenKind::UserDefined => {
                pieces.push(token.bytes());
            }
        }
    }
    pieces
}

/// The bytes of a token written in the byte-level alphabet. Characters outside it stand for
/// themselves.
pub(super) fn decode(token: &str, alphabet: &[Option<u8>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(token.len());
    for char in token.chars() {
        match alphabet.get(char as usize).copied().flatten() {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// The byte that each character of the byte-level alphabet stands for, by code point.
///
/// Printable Latin-1 characters stand for their own code point; the other bytes, in ascending
/// order, are the characters from U+0100 on (`bytes_to_unicode` in GPT-2's `encoder.py`).
pub(super) fn alphabet() -> Vec<Option<u8>> {
    let mut alphabet = vec![None; 0x100];
    for byte in 0..=u8::MAX {
        match byte {
            b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => alphabet[usize::from(byte)] = Some(byte),
            0..=b' ' | 0x7F..=0xA0 | 0xAD => alphabet.push(Some(byte)),
        }
    }
    alphabet
}

/// The character that each byte is written as.
fn chars() -> [char; 256] {
    let mut chars = ['\0'; 256];
    for (code, byte) in (0u32..).zip(alphabet()) {
        if let (Some(char), Some(byte)) = (char::from_u32(code), byte) {
            chars[usize::from(byte)] = char;
        }
    }
    chars
}

#[cfg(test)]
mod tests {
    use super::{alphabet, decode};

    #[test]
    fn the_alphabet_is_the_one_that_the_library_writes() {
        let alphabet = alphabet();
        let chars = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        assert_eq!(chars.len(), 256);
        let mut bytes: Vec<u8> = chars.into_iter().flat_map(|c| alphabet[c as usize]).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(decode("Ġæĸĩ", &alphabet), " 文".as_bytes());
        assert_eq!(decode("a 文", &alphabet), "a 文".as_bytes());
    }
}
