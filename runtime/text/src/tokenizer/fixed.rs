//! Tokens that are found in text as they stand, before anything else looks at it.

use aho_corasick::{AhoCorasick, MatchKind};

use crate::TokenizerError;

/// A set of fixed tokens. Where several begin at the same place, the longest is found.
pub(super) struct FixedTokens {
    search: AhoCorasick,
    /// By pattern number, which is by ascending id.
    tokens: Vec<Fixed>,
}

/// A token that is found in text as it stands.
#[derive(Clone)]
pub(super) struct Fixed {
    pub(super) id: u32,
    pub(super) text: String,
    /// Whether whitespace before it belongs to it.
    pub(super) strip_before: bool,
    /// Whether whitespace after it belongs to it.
    pub(super) strip_after: bool,
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    /// What lies between fixed tokens; never empty.
    Text(&'t str),
    /// A fixed token.
    Token(u32),
}

impl Fixed {
    pub(super) fn new(id: u32, text: &str) -> Self {
        Self { id, text: text.to_owned(), strip_before: false, strip_after: false }
    }
}

impl FixedTokens {
    /// Prepares the search. Tokens are given in ascending order of id.
    pub(super) fn new(tokens: Vec<Fixed>) -> Result<Self, TokenizerError> {
        debug_assert!(tokens.is_sorted_by_key(|token| token.id), "looked up by binary search");
        // An empty text would be found everywhere.
        let texts = tokens.iter().map(|token| token.text.as_str());
        if let Some(at) = texts.clone().position(str::is_empty) {
            return Err(TokenizerError::EmptyToken { id: tokens[at].id });
        }
        let bytes = texts.clone().map(str::len).sum();
        if bytes > BYTES_MAX {
            return Err(TokenizerError::TooManyFixed { bytes, max: BYTES_MAX });
        }
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(texts)
            .map_err(|error| TokenizerError::Library(error.to_string()))?;
        Ok(Self { search, tokens })
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.tokens.binary_search_by_key(&id, |token| token.id).is_ok()
    }

    /// The text of a token of this set.
    pub(super) fn text(&self, id: u32) -> Option<&str> {
        let at = self.tokens.binary_search_by_key(&id, |token| token.id).ok()?;
        Some(&self.tokens[at].text)
    }

    /// The token of this set that has this text.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.tokens.iter().find(|token| token.text == text).map(|token| token.id)
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().map(|token| token.text.as_str())
    }

    /// Cuts `text` at the fixed tokens in it.
    pub(super) fn split<'t>(&self, text: &'t str) -> Vec<Part<'t>> {
        let mut parts = Vec::new();
        let mut rest = 0;
        let mut strip = false;
        for found in self.search.find_iter(text) {
            let token = &self.tokens[found.pattern().as_usize()];
            let mut between = &text[rest..found.start()];
            if strip {
                between = between.trim_start();
            }
            if token.strip_before {
                between = between.trim_end();
            }
            push_text(&mut parts, between);
            parts.push(Part::Token(token.id));
            rest = found.end();
            strip = token.strip_after;
        }
        let last = &text[rest..];
        push_text(&mut parts, if strip { last.trim_start() } else { last });
        parts
    }
}

fn push_text<'t>(parts: &mut Vec<Part<'t>>, text: &'t str) {
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
}

/// The search takes some fifty bytes for each of theirs; real vocabularies have a hundredth of
/// this.
const BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::{Fixed, FixedTokens, Part};

    #[test]
    fn the_longest_token_at_a_place_is_found_and_nothing_is_lost() {
        let tokens = vec![Fixed::new(3, "<a>"), Fixed::new(7, "<a><b>"), Fixed::new(9, "é")];
        let fixed = FixedTokens::new(tokens).unwrap();
        assert_eq!(
            fixed.split("x<a><b><a>yéé"),
            [
                Part::Text("x"),
                Part::Token(7),
                Part::Token(3),
                Part::Text("y"),
                Part::Token(9),
                Part::Token(9),
            ]
        );
        assert_eq!(fixed.split(""), []);
        assert!(fixed.contains(7) && !fixed.contains(8));
    }

    #[test]
    fn whitespace_goes_with_the_tokens_that_claim_it() {
        let stripping = Fixed { strip_before: true, strip_after: true, ..Fixed::new(1, "|") };
        let fixed = FixedTokens::new(vec![stripping]).unwrap();
        assert_eq!(
            fixed.split("a  |  | b\n"),
            [Part::Text("a"), Part::Token(1), Part::Token(1), Part::Text("b\n")]
        );
    }
}
