//! What the metadata of a GGUF file says about text.

use engine_model::{GgufError, Metadata, ModelError, Strings};

use super::{SamplingDefaults, TextAssets, TokenizerAssets, VocabularyAssets};

pub(super) fn read(metadata: &Metadata) -> Result<TextAssets, ModelError> {
    Ok(TextAssets {
        tokenizer: TokenizerAssets::Vocabulary(vocabulary(metadata)?),
        chat_template: metadata.string("tokenizer.chat_template")?.map(str::to_owned),
        sampling: SamplingDefaults::default(),
    })
}

fn vocabulary(metadata: &Metadata) -> Result<VocabularyAssets, ModelError> {
    let strings = |key| Ok::<_, GgufError>(metadata.strings(key)?.map(owned).unwrap_or_default());
    let string = |key| Ok::<_, GgufError>(metadata.string(key)?.map(str::to_owned));
    let model = string("tokenizer.ggml.model")?.unwrap_or_default();
    let tokens = strings("tokenizer.ggml.tokens")?;
    let id = |key| token_id(metadata, key, tokens.len());
    // Files of sentence-piece vocabularies often leave these two out.
    let sentence_piece = model == "llama";
    let flag = |key| Ok::<_, GgufError>(metadata.bool(key)?.unwrap_or(sentence_piece));
    let assets = VocabularyAssets {
        pre: string("tokenizer.ggml.pre")?,
        kinds: metadata.i32s("tokenizer.ggml.token_type")?.unwrap_or_default(),
        scores: metadata.f32s("tokenizer.ggml.scores")?.unwrap_or_default().to_vec(),
        merges: strings("tokenizer.ggml.merges")?,
        bos: id("tokenizer.ggml.bos_token_id")?,
        eos: id("tokenizer.ggml.eos_token_id")?,
        eot: id("tokenizer.ggml.eot_token_id")?,
        unknown: id("tokenizer.ggml.unknown_token_id")?,
        add_bos: flag("tokenizer.ggml.add_bos_token")?,
        add_space_prefix: flag("tokenizer.ggml.add_space_prefix")?,
        model,
        tokens,
    };
    let num_tokens = assets.tokens.len();
    check_length("tokenizer.ggml.token_type", assets.kinds.len(), num_tokens)?;
    check_length("tokenizer.ggml.scores", assets.scores.len(), num_tokens)?;
    Ok(assets)
}

fn owned(strings: &Strings) -> Vec<String> {
    strings.iter().map(str::to_owned).collect()
}

fn token_id(metadata: &Metadata, key: &str, num_tokens: usize) -> Result<Option<u32>, ModelError> {
    match metadata.u32(key)? {
        Some(id) if id as usize >= num_tokens => Err(ModelError::Range {
            key: key.into(),
            found: id.to_string(),
            expected: format!("an id below {num_tokens}, the number of tokens"),
        }),
        id => Ok(id),
    }
}

fn check_length(key: &str, found: usize, num_tokens: usize) -> Result<(), ModelError> {
    if found == 0 || found == num_tokens {
        return Ok(());
    }
    Err(ModelError::Range {
        key: key.into(),
        found: format!("an array of {found}"),
        expected: format!("{num_tokens} values, one for each token"),
    })
}
