//! How text is cut into words before anything is merged: a table of pre-tokenisers by GGUF's names.
//!
//! Each entry is what the `tokenizer.json` of the models of that name says.

use tokenizers::utils::SysRegex;

use crate::TokenizerError;

/// One pre-tokeniser.
pub(super) struct PreTokenizer {
    names: &'static [&'static str],
    /// Whether text is composed (Unicode's NFC) first.
    pub(super) compose: bool,
    /// Whether a word that is a token is that token, whatever the merges would make of it.
    pub(super) whole_words: bool,
    cuts: &'static [Cut],
    /// Cuts made once the text is spelled in the byte-level alphabet.
    spelled_cuts: &'static [Cut],
}

/// One pass over the text; each cuts what the one before left.
enum Cut {
    /// Digits, each alone.
    EachDigit,
    /// Digits, a run together.
    Digits,
    /// What the pattern matches, and what lies between.
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

    /// What cuts text into words.
    pub(super) fn words(&self) -> Result<Words, TokenizerError> {
        Words::new(self.cuts)
    }

    /// What cuts those further, once they are spelled in the byte-level alphabet.
    pub(super) fn spelled_words(&self) -> Result<Words, TokenizerError> {
        Words::new(self.spelled_cuts)
    }
}

/// Cuts text into words.
pub(super) struct Words {
    passes: Vec<Pass>,
}

enum Pass {
    Digits { each: bool },
    Pattern(SysRegex),
}

impl Words {
    fn new(cuts: &[Cut]) -> Result<Self, TokenizerError> {
        let pass = |cut: &Cut| match cut {
            Cut::EachDigit => Ok(Pass::Digits { each: true }),
            Cut::Digits => Ok(Pass::Digits { each: false }),
            Cut::Pattern(pattern) => SysRegex::new(pattern)
                .map(Pass::Pattern)
                .map_err(|error| TokenizerError::Library(error.to_string())),
        };
        Ok(Self { passes: cuts.iter().map(pass).collect::<Result<_, _>>()? })
    }

    /// Calls `each` with every word of `text`, in order. Together they are the text.
    pub(super) fn each(&self, text: &str, each: &mut dyn FnMut(&str)) {
        cut(&self.passes, text, each);
    }
}

fn cut(passes: &[Pass], text: &str, each: &mut dyn FnMut(&str)) {
    let Some((pass, rest)) = passes.split_first() else { return each(text) };
    let mut piece = |piece: &str| {
        if !piece.is_empty() {
            cut(rest, piece, each);
        }
    };
    let mut end = 0;
    let mut found = |from: usize, to: usize| {
        piece(&text[end..from]);
        piece(&text[from..to]);
        end = to;
    };
    match pass {
        Pass::Pattern(pattern) => pattern.find_iter(text).for_each(|(from, to)| found(from, to)),
        Pass::Digits { each } => each_number(text, *each, &mut found),
    }
    piece(&text[end..]);
}

/// Calls `found` with where each digit, or each run of digits, begins and ends.
fn each_number(text: &str, each: bool, found: &mut dyn FnMut(usize, usize)) {
    let mut from = 0;
    while let Some(begin) = text[from..].find(char::is_numeric) {
        let run = &text[from + begin..];
        let len = match each {
            true => run.chars().next().map_or(0, char::len_utf8),
            false => run.find(|c: char| !c.is_numeric()).unwrap_or(run.len()),
        };
        found(from + begin, from + begin + len);
        from += begin + len;
    }
}

const PLAIN: PreTokenizer =
    PreTokenizer { names: &[], compose: false, whole_words: false, cuts: &[], spelled_cuts: &[] };

const TABLE: &[PreTokenizer] = &[
    PreTokenizer {
        names: &["default", "falcon"],
        cuts: &[Cut::Pattern(PUNCTUATION), Cut::Pattern(GPT2)],
        spelled_cuts: &[Cut::Digits, Cut::Pattern("[0-9][0-9][0-9]")],
        ..PLAIN
    },
    PreTokenizer { names: &["gpt-2", "phi-2"], cuts: &[Cut::Pattern(GPT2)], ..PLAIN },
    PreTokenizer { names: &["mpt", "olmo"], compose: true, cuts: &[Cut::Pattern(GPT2)], ..PLAIN },
    PreTokenizer {
        names: &["smollm", "starcoder", "refact", "codeshell"],
        cuts: &[Cut::EachDigit, Cut::Pattern(GPT2)],
        ..PLAIN
    },
    PreTokenizer {
        names: &["command-r"],
        compose: true,
        cuts: &[Cut::EachDigit, Cut::Pattern(GPT2)],
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

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

const PUNCTUATION: &str = r"[\p{P}$+<=>^~|`]+";

const CL100K: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
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
    use super::{PreTokenizer, TABLE};

    #[test]
    fn words_are_cut_pass_by_pass_and_nothing_is_lost() {
        let check = |name: &str, text: &str, expected: &[&str]| {
            let mut words = Vec::new();
            let pre = PreTokenizer::named(Some(name)).unwrap();
            pre.words().unwrap().each(text, &mut |word| words.push(word.to_owned()));
            assert_eq!(words, expected);
        };
        check("smollm", "I've 12½  cats ", &["I", "'ve", " ", "1", "2", "½", " ", " cats", " "]);
        check("default", "a 12345,b", &["a", " 12345", ",", "b"]);
        check("qwen2", "DON'T\n\n x12", &["DON", "'T", "\n\n", " x", "1", "2"]);
        check("gpt-2", "", &[]);
    }

    #[test]
    fn every_entry_builds_and_every_name_is_given_once() {
        let mut names: Vec<&str> = TABLE.iter().flat_map(|entry| entry.names).copied().collect();
        for entry in TABLE {
            entry.words().unwrap();
            entry.spelled_words().unwrap();
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
