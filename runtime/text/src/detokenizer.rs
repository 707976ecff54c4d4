//! Tokens to text, as they come: never half a character.

use std::sync::Arc;

use crate::Tokenizer;

/// Turns the tokens of one output into text.
///
/// A token may end in the middle of a UTF-8 character; its bytes wait (at most three) until the
/// next token completes it. Bytes that are not UTF-8 become U+FFFD exactly where
/// [`String::from_utf8_lossy`] would put one, were it given all bytes at once.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    tokenizer: Arc<Tokenizer>,
    tail: Vec<u8>,
    control: Control,
}

/// Whether control tokens have text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Control {
    /// They have none.
    #[default]
    Hidden,
    /// They are shown as they are written.
    Shown,
}

impl Detokenizer {
    /// A detokeniser at the beginning of an output.
    pub fn new(tokenizer: Arc<Tokenizer>, control: Control) -> Self {
        Self { tokenizer, tail: Vec::new(), control }
    }

    /// Appends to `out` the text that `id` completes. Ids outside the vocabulary have no text.
    pub fn push(&mut self, id: u32, out: &mut String) {
        let bytes = match self.control {
            Control::Hidden => self.tokenizer.token_bytes(id),
            Control::Shown => self.tokenizer.token_name(id),
        };
        self.tail.extend_from_slice(bytes);
        take_complete(&mut self.tail, out);
    }

    /// Ends the output: a character that was never completed becomes one U+FFFD.
    pub fn finish(&mut self, out: &mut String) {
        if !self.tail.is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
            self.tail.clear();
        }
    }
}

/// Moves everything from `tail` to `out` but the beginning of a character that may yet be
/// completed.
fn take_complete(tail: &mut Vec<u8>, out: &mut String) {
    let mut rest = tail.as_slice();
    loop {
        let error = match std::str::from_utf8(rest) {
            Ok(valid) => {
                out.push_str(valid);
                tail.clear();
                return;
            }
            Err(error) => error,
        };
        let (valid, after) = rest.split_at(error.valid_up_to());
        out.push_str(std::str::from_utf8(valid).expect("checked up to here"));
        let Some(invalid) = error.error_len() else {
            let taken = tail.len() - after.len();
            tail.drain(..taken);
            return;
        };
        out.push(char::REPLACEMENT_CHARACTER);
        rest = &after[invalid..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::take_complete;

    /// Bytes that are often the pieces of characters, and often not.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<char>().prop_map(|c| c.to_string().into_bytes()),
            any::<char>().prop_map(|c| {
                let mut bytes = c.to_string().into_bytes();
                bytes.pop();
                bytes
            }),
            prop::collection::vec(any::<u8>(), 0..4),
            Just(vec![0xF0, 0x9F]),
            Just(vec![0xED, 0xA0, 0x80]),
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_split_of_any_bytes_gives_the_lossy_whole(
            bytes in bytes(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());

            let (mut tail, mut out, mut start) = (Vec::new(), String::new(), 0);
            for cut in cuts {
                tail.extend_from_slice(&bytes[start..cut]);
                take_complete(&mut tail, &mut out);
                prop_assert!(tail.len() <= 3, "{tail:?} is held back");
                start = cut;
            }
            if !tail.is_empty() {
                out.push(char::REPLACEMENT_CHARACTER);
            }
            prop_assert_eq!(out, String::from_utf8_lossy(&bytes));
        }
    }
}
