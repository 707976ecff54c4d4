//! A tokeniser from Hugging Face's `tokenizer.json`.

use std::collections::HashMap;
use std::path::Path;

use tokenizers::Tokenizer as Library;
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::BPE;

use super::fixed::Fixed;
use super::pieces::Pieces;
use super::{Model, Parts, byte_level, sentencepiece};
use crate::TokenizerError;

/// How a file's tokens are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    ByteLevel,
    SentencePiece,
}

/// Reads a `tokenizer.json`.
pub(super) fn read(path: &Path) -> Result<Parts, TokenizerError> {
    let wrong = |reason: String| TokenizerError::File { path: path.to_owned(), reason };
    let json = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let whole = Library::from_bytes(&json).map_err(|error| wrong(error.to_string()))?;
    let bpe = bpe(whole.get_model())?;
    let spelling = spelling(&whole)?;
    let control = fixed(&whole, true);
    let user_defined = fixed(&whole, false);
    let bos = beginning(&whole).map_err(wrong)?;
    let pieces = pieces(&whole, spelling).map_err(wrong)?;

    let mut library = Library::new(bpe);
    library
        .with_normalizer(whole.get_normalizer().cloned())
        .with_pre_tokenizer(whole.get_pre_tokenizer().cloned());
    Ok(Parts {
        model: Model::Library(library.into()),
        control,
        user_defined,
        pieces,
        bos,
        eos: None,
        eot: None,
        add_bos: bos.is_some(),
    })
}

/// The model, which must be one that encodes every text, and always in the same way.
fn bpe(model: &ModelWrapper) -> Result<BPE, TokenizerError> {
    let refuse =
        |model: &str| Err(TokenizerError::UnknownModel { model: model.to_owned(), known: "BPE" });
    let mut bpe = match model {
        ModelWrapper::BPE(bpe) => bpe.clone(),
        ModelWrapper::Unigram(_) => return refuse("Unigram"),
        ModelWrapper::WordLevel(_) => return refuse("WordLevel"),
        ModelWrapper::WordPiece(_) => return refuse("WordPiece"),
    };
    bpe.dropout = None;
    if let Some(unknown) = &bpe.unk_token
        && tokenizers::Model::token_to_id(&bpe, unknown).is_none()
    {
        return Err(TokenizerError::UnknownTokenMissing { token: unknown.clone() });
    }
    Ok(bpe)
}

/// How tokens are written, which only the decoder says.
fn spelling(whole: &Library) -> Result<Spelling, TokenizerError> {
    let json = serde_json::to_value(whole.get_decoder()).unwrap_or_default();
    let mut kinds = Vec::new();
    collect_kinds(&json, &mut kinds);
    let has = |kind: &str| kinds.iter().any(|known| known == kind);
    if has("ByteLevel") {
        Ok(Spelling::ByteLevel)
    } else if has("ByteFallback") {
        Ok(Spelling::SentencePiece)
    } else {
        let known = "ByteLevel, and a Sequence with ByteFallback";
        Err(TokenizerError::UnknownDecoder { decoder: kinds.join(", "), known })
    }
}

fn collect_kinds(decoder: &serde_json::Value, kinds: &mut Vec<String>) {
    kinds.extend(decoder["type"].as_str().map(str::to_owned));
    for part in decoder["decoders"].as_array().into_iter().flatten() {
        kinds.extend(part["type"].as_str().map(str::to_owned));
    }
}

/// The added tokens: those that are special are control tokens, the others user-defined.
fn fixed(whole: &Library, special: bool) -> Vec<Fixed> {
    let mut tokens: Vec<Fixed> = whole
        .get_added_tokens_decoder()
        .into_iter()
        .filter(|(_, token)| token.special == special)
        .map(|(id, token)| Fixed {
            id,
            text: token.content,
            strip_before: token.lstrip,
            strip_after: token.rstrip,
        })
        .collect();
    tokens.sort_unstable_by_key(|token| token.id);
    tokens
}

/// The one token that the post-processor puts before a text, if it puts any.
fn beginning(whole: &Library) -> Result<Option<u32>, String> {
    let encode = |text: &str| {
        let encoding = whole.encode_fast(text, true).map_err(|error| error.to_string())?;
        Ok::<_, String>(encoding.get_ids().to_vec())
    };
    match encode("")?.as_slice() {
        [] => Ok(None),
        [bos] if encode("a")?.first() == Some(bos) => Ok(Some(*bos)),
        added => Err(format!(
            "its post-processor adds {} tokens to a text; only one before it is supported",
            added.len()
        )),
    }
}

fn pieces(whole: &Library, spelling: Spelling) -> Result<Pieces, String> {
    let by_id: HashMap<u32, String> =
        whole.get_vocab(true).into_iter().map(|(token, id)| (id, token)).collect();
    let len = by_id.keys().max().map_or(0, |&id| id as usize + 1);
    // Ids may have gaps, but an id that nobody could mean must not cost memory.
    if len > 2 * by_id.len() + 1_024 {
        return Err(format!("it has {} tokens, but an id of {}", by_id.len(), len - 1));
    }
    let added = whole.get_added_tokens_decoder();
    let alphabet = byte_level::alphabet();
    let mut pieces = Pieces::with_capacity(len, by_id.values().map(String::len).sum());
    for id in (0u32..).take(len) {
        let token = by_id.get(&id).map_or("", String::as_str);
        if added.contains_key(&id) {
            pieces.push(token.bytes());
            continue;
        }
        match (spelling, sentencepiece::byte(token)) {
            (Spelling::ByteLevel, _) => pieces.push(byte_level::decode(token, &alphabet)),
            (Spelling::SentencePiece, Some(byte)) => pieces.push([byte]),
            (Spelling::SentencePiece, None) => pieces.push(sentencepiece::decode(token).bytes()),
        }
    }
    Ok(pieces)
}
