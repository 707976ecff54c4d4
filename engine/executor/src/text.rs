//! What a model says about text: plain data for a tokenizer and a chat template.

mod folder;
mod gguf;
mod made_up;

use std::path::PathBuf;

use engine_model::{Checkpoint, Facts, ModelError};

/// Everything about text that comes with a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TextAssets {
    /// What a tokenizer is built from.
    pub tokenizer: TokenizerAssets,
    /// The source of the chat template.
    pub chat_template: Option<String>,
    /// How tokens are drawn where a request does not say it.
    pub sampling: SamplingDefaults,
}

/// What a tokenizer is built from.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenizerAssets {
    /// A `tokenizer.json`.
    File(TokenizerFile),
    /// What a GGUF file lists.
    Vocabulary(VocabularyAssets),
}

/// A `tokenizer.json`, and what the files beside it say of its tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenizerFile {
    /// Where it is.
    pub path: PathBuf,
    /// The text of the token that begins a text.
    pub bos: Option<String>,
    /// The text of the token that ends a text.
    pub eos: Option<String>,
    /// Whether a text begins with `bos`; `None`: as the file itself has it.
    pub add_bos: Option<bool>,
    /// The tokens that end a turn.
    pub ends: Vec<u32>,
}

/// A vocabulary and its rules, as a GGUF file has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VocabularyAssets {
    /// The kind of tokenizer (`gpt2`, `llama`, ...); empty if the file has none.
    pub model: String,
    /// How text is cut before merging.
    pub pre: Option<String>,
    /// The text of each token; the index is its id.
    pub tokens: Vec<String>,
    /// The kind of each token in ggml's numbering (1 normal, 2 unknown, 3 control, 4 user-defined,
    /// 5 unused, 6 byte). Empty, or one for each token.
    pub kinds: Vec<i32>,
    /// The score of each token. Empty, or one for each token.
    pub scores: Vec<f32>,
    /// Pairs that merge, the first ones first.
    pub merges: Vec<String>,
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Ends a turn.
    pub eot: Option<u32>,
    /// Stands for what has no token.
    pub unknown: Option<u32>,
    /// Whether a text begins with `bos`.
    pub add_bos: bool,
    /// Whether a text is encoded with a space before it.
    pub add_space_prefix: bool,
}

/// How tokens are drawn where a request does not say it, by a model's `generation_config.json`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SamplingDefaults {
    /// 0 takes the most likely token.
    pub temperature: Option<f32>,
    /// How many of the most likely tokens are drawn from; 0 is all.
    pub top_k: Option<u32>,
    /// The share of probability that is drawn from.
    pub top_p: Option<f32>,
    /// The least probability, relative to that of the most likely token.
    pub min_p: Option<f32>,
    /// What the logits of tokens that the text has are divided by, or multiplied with if negative.
    pub repetition_penalty: Option<f32>,
}

impl TextAssets {
    pub(crate) fn read(checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        match (checkpoint.facts(), checkpoint.folder()) {
            (Facts::Gguf(metadata), _) => gguf::read(metadata),
            (Facts::HuggingFace(config), Some(folder)) => {
                if checkpoint.is_random() && !folder.join(folder::TOKENIZER).exists() {
                    return made_up::read(config);
                }
                Ok(folder::read(config, folder)?)
            }
            (Facts::HuggingFace(_), None) => unreachable!("such facts are in a folder"),
        }
    }
}

impl Default for TokenizerAssets {
    fn default() -> Self {
        Self::Vocabulary(VocabularyAssets::default())
    }
}
