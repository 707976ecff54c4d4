//! How text is cut into words before anything is merged: a table of pre-tokenisers by GGUF's names.
//!
//! Each entry is what the `tokenizer.json` of the models of that name says.

use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use crate::TokenizerError;

/// One pre-tokeniser.
pub(super) struct PreTokenizer {
    names: &'static [&'static str],
    compose: bool,
    /// Whether a word that is a token is that token, whatever the merges would make of it.
    pub(super) whole_words: bool,
    cuts: &'static [Cut],
}

/// One pass over the text; each cuts what the one before left.
enum Cut {
    /// Digits, each alone.
    EachDigit,
    /// Digits, a run together.
    Digits,
    /// GPT-2's own pattern.
    Gpt2,
    /// A run of punctuation.
    Punctuation,
    /// What the pattern matches, and what it does not.
    Pattern(&'static str),
}

impl PreTokenizer {
    /// The pre-tokeniser of that name; a vocabulary that names none gets `default`.
    pub(super) fn named(name: Option<&str>) -> Result<&'static Self, TokenizerError> {
        let name = name.unwrap_or("default");
        TABLE.iter().find(|entry| entry.names.contains(&name)).ok_or_else(|| {
            let known: Vec<&str> = TABLE.iter().flat_map(|entry| entry.names).copied().collect();
            TokenizerError::UnknownPreTokenizer { pre: name.to_owned(), known: known.join(", ") }
        })
    }

    /// What is done to text before it is cut.
    pub(super) fn normalizer(&self) -> Option<NFC> {
        self.compose.then_some(NFC)
    }

    /// All passes in order, ending in the byte-level alphabet.
    pub(super) fn build(&self) -> Result<PreTokenizerWrapper, TokenizerError> {
        let mut passes = Vec::with_capacity(self.cuts.len() + 1);
        for cut in self.cuts {
            passes.push(cut.build()?);
        }
        if !self.cuts.iter().any(|cut| matches!(cut, Cut::Gpt2)) {
            passes.push(ByteLevel::new(false, true, false).into());
        }
        Ok(Sequence::new(passes).into())
    }
}

impl Cut {
    fn build(&self) -> Result<PreTokenizerWrapper, TokenizerError> {
        Ok(match self {
            Self::EachDigit => Digits::new(true).into(),
            Self::Digits => Digits::new(false).into(),
            Self::Gpt2 => ByteLevel::new(false, true, true).into(),
            Self::Punctuation => Punctuation::new(SplitDelimiterBehavior::Contiguous).into(),
            Self::Pattern(pattern) => {
                let pattern = SplitPattern::Regex((*pattern).to_owned());
                Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                    .map_err(|error| TokenizerError::Library(error.to_string()))?
                    .into()
            }
        })
    }
}

const PLAIN: PreTokenizer =
    PreTokenizer { names: &[], compose: false, whole_words: false, cuts: &[] };

const TABLE: &[PreTokenizer] = &[
    PreTokenizer {
        names: &["default", "falcon"],
        cuts: &[Cut::Punctuation, Cut::Gpt2, Cut::Digits, Cut::Pattern("[0-9][0-9][0-9]")],
        ..PLAIN
    },
    PreTokenizer { names: &["gpt-2", "phi-2"], cuts: &[Cut::Gpt2], ..PLAIN },
    PreTokenizer { names: &["mpt", "olmo"], compose: true, cuts: &[Cut::Gpt2], ..PLAIN },
    PreTokenizer {
        names: &["smollm", "starcoder", "refact", "codeshell"],
        cuts: &[Cut::EachDigit, Cut::Gpt2],
        ..PLAIN
    },
    PreTokenizer {
        names: &["command-r"],
        compose: true,
        cuts: &[Cut::EachDigit, Cut::Gpt2],
        ..PLAIN
    },
    PreTokenizer {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "glm4", "lfm2", "pixtral"],
        whole_words: true,
        cuts: &[Cut::Pattern(CL100K)],
        ..PLAIN
    },
    PreTokenizer {
        names: &["qwen2", "deepseek-r1-qwen", "megrez"],
        compose: true,
        cuts: &[Cut::Pattern(QWEN2)],
        ..PLAIN
    },
    PreTokenizer { names: &["qwen35"], compose: true, cuts: &[Cut::Pattern(QWEN35)], ..PLAIN },
    PreTokenizer { names: &["gpt-4o"], cuts: &[Cut::Pattern(O200K)], ..PLAIN },
    PreTokenizer { names: &["tekken"], whole_words: true, cuts: &[Cut::Pattern(TEKKEN)], ..PLAIN },
    PreTokenizer {
        names: &["deepseek-coder"],
        cuts: &[
            Cut::Pattern(r"[\r\n]"),
            Cut::Pattern(r"\s?\p{L}+"),
            Cut::Pattern(r"\s?\p{P}+"),
            Cut::Pattern("[一-龥ࠀ-一가-퟿]+"),
            Cut::EachDigit,
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-v3"],
        cuts: &[
            Cut::Pattern(r"\p{N}{1,3}"),
            Cut::Pattern("[一-龥぀-ゟ゠-ヿ]+"),
            Cut::Pattern(DEEPSEEK_V3),
        ],
        ..PLAIN
    },
];

const CL100K: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

const QWEN35: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}",
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

const O200K: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

const DEEPSEEK_V3: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
    r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
);

#[cfg(test)]
mod tests {
    use super::TABLE;

    #[test]
    fn every_entry_builds_and_every_name_is_given_once() {
        let mut names: Vec<&str> = TABLE.iter().flat_map(|entry| entry.names).copied().collect();
        for entry in TABLE {
            entry.build().unwrap();
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
