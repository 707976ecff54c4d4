//! Keeps what messages say apart from what the chat template says.
//!
//! A rendered conversation is one string, and a client may write `<|im_end|>` into a message. So
//! before rendering, a mark is put inside every control token's text that a message contains, and
//! where a message's border could complete one together with the text beside it. The template
//! carries the marks along; control tokens are then looked for in the marked text, where a marked
//! one is not found, and the marks are taken out of what lies between.

use std::borrow::Cow;
use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;

/// A conversation as a chat template renders it, with the messages' own text still told apart from
/// the template's. [`crate::Tokenizer::encode_rendered`] turns it into tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    marked: String,
}

impl Rendered {
    pub(crate) fn new(marked: String) -> Self {
        Self { marked }
    }

    /// The rendered text as people read it.
    pub fn text(&self) -> Cow<'_, str> {
        unmark(&self.marked)
    }

    pub(crate) fn marked(&self) -> &str {
        &self.marked
    }
}

/// Puts marks into the text of messages.
pub(crate) struct Marker {
    /// The control tokens that a mark fits inside.
    control: AhoCorasick,
    /// How far into each control token its second character begins.
    inside: Vec<usize>,
    /// The control tokens in order, for what begins one.
    forwards: Vec<Vec<u8>>,
    /// The control tokens in order, each spelled backwards, for what ends one.
    backwards: Vec<Vec<u8>>,
    len_max: usize,
}

impl Marker {
    pub(crate) fn new(control: &[String]) -> Self {
        let control: Vec<&str> =
            control.iter().map(String::as_str).filter(|token| is_markable(token)).collect();
        let second = |token: &&str| token.chars().next().map_or(0, char::len_utf8);
        let sorted = |spell: fn(&str) -> Vec<u8>| {
            let mut tokens: Vec<Vec<u8>> = control.iter().map(|token| spell(token)).collect();
            tokens.sort_unstable();
            tokens
        };
        Self {
            control: AhoCorasick::new(&control).expect("a vocabulary's tokens fit a search"),
            inside: control.iter().map(second).collect(),
            forwards: sorted(|token| token.bytes().collect()),
            backwards: sorted(|token| token.bytes().rev().collect()),
            len_max: control.iter().map(|token| token.len()).max().unwrap_or(0),
        }
    }

    /// Marks a text that stands alone, as a message's content does.
    pub(crate) fn mark(&self, text: &str) -> String {
        let mut places = self.inside(text);
        // A template may trim; the border is then where the trimmed text ends.
        for part in [text, text.trim()] {
            let start = part.as_ptr() as usize - text.as_ptr() as usize;
            if self.completes_before(part) {
                places.insert(start);
            }
            if self.completed_after(part) {
                places.insert(start + part.len());
            }
        }
        insert_marks(text, &places)
    }

    /// Marks a text that a template may make part of a control token, as it does with a role.
    pub(crate) fn mark_inside(&self, text: &str) -> String {
        insert_marks(text, &self.inside(text))
    }

    /// Where a mark parts each control token in `text`.
    fn inside(&self, text: &str) -> BTreeSet<usize> {
        self.control
            .find_overlapping_iter(text)
            .map(|found| found.start() + self.inside[found.pattern().as_usize()])
            .collect()
    }

    /// Whether the text before it and the beginning of `text` could make a control token.
    fn completes_before(&self, text: &str) -> bool {
        let head = &text.as_bytes()[..text.len().min(self.len_max)];
        let reversed: Vec<u8> = head.iter().rev().copied().collect();
        (0..reversed.len()).any(|from| begins_longer(&self.backwards, &reversed[from..]))
    }

    /// Whether the end of `text` and the text after it could make a control token.
    fn completed_after(&self, text: &str) -> bool {
        let tail = &text.as_bytes()[text.len().saturating_sub(self.len_max)..];
        (0..tail.len()).any(|from| begins_longer(&self.forwards, &tail[from..]))
    }
}

/// Whether one of the words, which are sorted and all different, begins with `part` and goes on.
fn begins_longer(sorted: &[Vec<u8>], part: &[u8]) -> bool {
    let from = sorted.partition_point(|word| word.as_slice() <= part);
    sorted.get(from).is_some_and(|word| word.starts_with(part))
}

/// Whether a mark fits inside a control token. Others are never parsed in a rendered conversation.
pub(crate) fn is_markable(token: &str) -> bool {
    token.chars().nth(1).is_some() && !token.contains(MARK)
}

/// Puts a mark at each place. A text's own U+FDD0 is doubled, so that taking marks out gives it
/// back.
fn insert_marks(text: &str, places: &BTreeSet<usize>) -> String {
    if places.is_empty() && !text.contains(MARK) {
        return text.to_owned();
    }
    let mut marked = String::with_capacity(text.len() + places.len() * MARK.len_utf8());
    let mut places = places.iter().copied().peekable();
    for (at, char) in text.char_indices() {
        if places.next_if_eq(&at).is_some() {
            marked.push(MARK);
        }
        marked.push(char);
        if char == MARK {
            marked.push(MARK);
        }
    }
    if places.next().is_some() {
        marked.push(MARK);
    }
    marked
}

/// Takes the marks out again: of a run of them, every second one is the text's own.
pub(crate) fn unmark(marked: &str) -> Cow<'_, str> {
    if !marked.contains(MARK) {
        return Cow::Borrowed(marked);
    }
    let mut text = String::with_capacity(marked.len());
    let mut odd = false;
    for char in marked.chars() {
        odd = char == MARK && !odd;
        if !odd {
            text.push(char);
        }
    }
    Cow::Owned(text)
}

/// A noncharacter: Unicode reserves it for a program's own use, so texts hardly ever have it.
const MARK: char = '\u{FDD0}';

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Marker, unmark};

    const CONTROL: &[&str] =
        &["<|a|>", "<|a|><b>", "|>", "é\u{FDD0}x", "\u{FDD0}y", "z", "|>\n<|a"];

    fn marker() -> Marker {
        let control: Vec<String> = CONTROL.iter().map(|&token| token.to_owned()).collect();
        Marker::new(&control)
    }

    /// Text that is mostly the makings of control tokens and marks.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "<|a|>", "<|", "a", "|>", "<b>", "é", "x", "\u{FDD0}", "y", " ", "\n", "<", ">",
        ]);
        prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
    }

    fn controls_in(text: &str) -> Vec<&'static str> {
        CONTROL.iter().copied().filter(|t| super::is_markable(t) && text.contains(t)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn marked_text_has_no_control_token_and_unmarks_to_itself(text in text()) {
            let marked = marker().mark(&text);
            prop_assert_eq!(unmark(&marked), text.as_str());
            let inside = marker().mark_inside(&text);
            prop_assert_eq!(unmark(&inside), text.as_str());
            let found = controls_in(&marked);
            prop_assert!(found.is_empty(), "{found:?} in {marked:?}");
        }

        #[test]
        fn two_texts_side_by_side_make_no_control_token(a in text(), b in text(), trim: bool) {
            let (a, b) = (marker().mark(&a), marker().mark(&b));
            let joined = if trim { format!("{}{}", a.trim(), b.trim()) } else { format!("{a}{b}") };
            let found = controls_in(&joined);
            prop_assert!(found.is_empty(), "{found:?} in {joined:?}");
        }
    }
}
