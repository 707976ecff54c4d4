//! Text to tokens, and what is known of each token.

mod byte_level;
mod file;
mod fixed;
mod pieces;
mod pretokenizer;
mod roles;
mod sentencepiece;

use std::fmt;
use std::path::Path;

use crate::mark::{is_markable, unmark};
use crate::template::SpecialTokens;
use crate::{Rendered, TokenKind, TokenizerError, Vocabulary};
use byte_level::ByteLevel;
use fixed::{Fixed, FixedTokens, Part};
use pieces::Pieces;
pub use roles::Roles;

/// Turns text into a model's tokens, and knows the bytes of each of them.
///
/// Text is cut at fixed tokens first: control tokens where the caller wants them parsed,
/// user-defined tokens always. What lies between goes to Hugging Face's `tokenizers`, which is
/// given neither.
pub struct Tokenizer {
    model: Model,
    control: FixedTokens,
    /// Those control tokens that are told apart from text in a rendered conversation.
    markable: FixedTokens,
    user_defined: FixedTokens,
    pieces: Pieces,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    end_tokens: Vec<u32>,
}

impl Tokenizer {
    /// Builds the tokeniser that a vocabulary describes.
    ///
    /// # Errors
    /// If the parts of the vocabulary do not fit each other, or it needs a tokeniser that is not
    /// known.
    pub fn from_vocabulary(vocabulary: Vocabulary) -> Result<Self, TokenizerError> {
        let index = vocabulary.index()?;
        let (model, pieces) = match vocabulary.model.as_str() {
            "gpt2" => (
                Model::ByteLevel(ByteLevel::new(&vocabulary, &index)?.into()),
                byte_level::pieces(&vocabulary),
            ),
            "llama" => (
                Model::Library(sentencepiece::build(&vocabulary, &index)?.into()),
                sentencepiece::pieces(&vocabulary)?,
            ),
            model => {
                return Err(TokenizerError::UnknownModel {
                    model: model.to_owned(),
                    known: "gpt2, llama",
                });
            }
        };
        let of_kind = |wanted: fn(TokenKind) -> bool| {
            let all = (0u32..).zip(&vocabulary.tokens);
            let of_kind = all.filter(|&(id, _)| wanted(vocabulary.kind(id)));
            of_kind.map(|(id, text)| Fixed::new(id, text)).collect()
        };
        Self::assemble(Parts {
            model,
            control: of_kind(TokenKind::is_control),
            user_defined: of_kind(|kind| kind == TokenKind::UserDefined),
            pieces,
            bos: vocabulary.bos,
            eos: vocabulary.eos,
            eot: vocabulary.eot,
            add_bos: vocabulary.add_bos,
        })
    }

    /// Reads a `tokenizer.json`.
    ///
    /// Such a file does not say which token begins or ends a sequence: the beginning is what its
    /// post-processor puts before a text, the ends are those control tokens that are known by name.
    ///
    /// # Errors
    /// If the file cannot be read or is not a tokeniser, or if its decoder is not known.
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        Self::assemble(file::read(path)?)
    }

    /// The tokens of a raw prompt. Control tokens written out in it are control tokens. It begins
    /// with BOS, once, if the vocabulary says that prompts do.
    pub fn encode_text(&self, text: &str) -> Vec<u32> {
        self.begun(self.encode_text_alone(text))
    }

    /// The tokens of a raw prompt as in [`Self::encode_text`], and no other before them.
    pub fn encode_text_alone(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        for part in self.control.split(text) {
            match part {
                Part::Text(text) => self.encode_stretch(text, &mut ids),
                Part::Token(id) => ids.push(id),
            }
        }
        ids
    }

    /// The tokens of a rendered conversation. Control tokens are parsed in the template's own text
    /// only; what the messages say is text. BOS as in [`Self::encode_text`].
    pub fn encode_rendered(&self, rendered: &Rendered) -> Vec<u32> {
        self.begun(self.encode_rendered_alone(rendered))
    }

    /// The tokens of a rendered conversation as in [`Self::encode_rendered`], and no other before
    /// them.
    pub fn encode_rendered_alone(&self, rendered: &Rendered) -> Vec<u32> {
        let mut ids = Vec::new();
        for part in self.markable.split(rendered.marked()) {
            match part {
                Part::Text(marked) => self.encode_stretch(&unmark(marked), &mut ids),
                Part::Token(id) => ids.push(id),
            }
        }
        ids
    }

    /// Number of tokens; every id is below it.
    pub fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    /// The bytes that a token stands for. They need not be whole characters. Control tokens and ids
    /// outside the vocabulary have none.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        if self.is_control(id) { &[] } else { self.pieces.bytes(id) }
    }

    /// A token as it is written: the bytes it stands for, or a control token's own text.
    pub fn token_name(&self, id: u32) -> &[u8] {
        self.control.text(id).map_or_else(|| self.pieces.bytes(id), str::as_bytes)
    }

    /// Whether a token is structure rather than text.
    pub fn is_control(&self, id: u32) -> bool {
        self.control.contains(id)
    }

    /// The tokens that end a turn, ascending.
    pub fn end_tokens(&self) -> &[u32] {
        &self.end_tokens
    }

    /// What a chat template must know of this tokeniser.
    pub fn special_tokens(&self) -> SpecialTokens {
        let text = |id: Option<u32>| id.and_then(|id| self.control.text(id)).unwrap_or_default();
        SpecialTokens {
            bos: text(self.bos).to_owned(),
            eos: text(self.eos).to_owned(),
            control: self.control.texts().map(str::to_owned).collect(),
        }
    }

    /// A prompt that writes BOS out itself needs no other.
    fn begun(&self, mut ids: Vec<u32>) -> Vec<u32> {
        if let Some(bos) = self.bos.filter(|bos| self.add_bos && ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        ids
    }

    /// Encodes text without control tokens.
    fn encode_stretch(&self, text: &str, ids: &mut Vec<u32>) {
        for part in self.user_defined.split(text) {
            match part {
                Part::Text(text) => self.encode_plain(text, ids),
                Part::Token(id) => ids.push(id),
            }
        }
    }

    /// Encodes text without any fixed token.
    fn encode_plain(&self, mut text: &str, ids: &mut Vec<u32>) {
        while !text.is_empty() {
            let (stretch, rest) = text.split_at(text.floor_char_boundary(STRETCH_BYTES_MAX));
            self.model.encode(stretch, ids);
            text = rest;
        }
    }

    fn assemble(parts: Parts) -> Result<Self, TokenizerError> {
        let fixed = parts.control.iter().chain(&parts.user_defined);
        let known = fixed.filter(|token| KNOWN_ENDS.contains(&token.text.as_str()));
        let mut end_tokens: Vec<u32> = known.map(|token| token.id).collect();
        end_tokens.extend([parts.eos, parts.eot].into_iter().flatten());
        end_tokens.sort_unstable();
        end_tokens.dedup();
        let markable = parts.control.iter().filter(|token| is_markable(&token.text)).cloned();
        Ok(Self {
            model: parts.model,
            markable: FixedTokens::new(markable.collect())?,
            control: FixedTokens::new(parts.control)?,
            user_defined: FixedTokens::new(parts.user_defined)?,
            pieces: parts.pieces,
            bos: parts.bos,
            eos: parts.eos,
            add_bos: parts.add_bos,
            end_tokens,
        })
    }
}

/// What turns text without fixed tokens into tokens.
enum Model {
    ByteLevel(Box<ByteLevel>),
    Library(Box<tokenizers::Tokenizer>),
}

impl Model {
    fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        match self {
            Self::ByteLevel(model) => model.encode(text, ids),
            Self::Library(library) => {
                let encoding = library.encode_fast(text, false);
                let encoding = encoding.expect("only an unknown token can fail, and was checked");
                ids.extend_from_slice(encoding.get_ids());
            }
        }
    }
}

/// What a tokeniser is made of, wherever that was read.
struct Parts {
    model: Model,
    control: Vec<Fixed>,
    user_defined: Vec<Fixed>,
    pieces: Pieces,
    bos: Option<u32>,
    eos: Option<u32>,
    eot: Option<u32>,
    add_bos: bool,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("end_tokens", &self.end_tokens)
            .finish_non_exhaustive()
    }
}

/// Longer text is encoded in stretches, which matters to no prompt that fits a context. Merging
/// takes some hundred bytes of memory a character where nothing cuts a text into words, and the
/// regular expression engine gives up, by panicking, after ten million retries in one match.
const STRETCH_BYTES_MAX: usize = 1 << 20;

/// Tokens that end a turn in some family of models, whatever its file says of them.
const KNOWN_ENDS: &[&str] = &[
    "</s>",
    "<EOT>",
    "<end_of_turn>",
    "<|call|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|eot|>",
    "<|im_end|>",
    "<|return|>",
    "<｜end▁of▁sentence｜>",
];

#[cfg(test)]
mod tests;
