//! From what a model says about text to a tokenizer and a chat template.

use std::sync::Arc;

use anyhow::{Result, ensure};
use engine::{TextAssets, TokenizerAssets, TokenizerFile, VocabularyAssets};
use runtime_text::{ChatTemplate, Roles, TokenKind, Tokenizer, TokenizerError, Vocabulary};

/// A tokenizer, and a chat template if the model has one. `vocab` is how many tokens the model
/// itself knows.
///
/// # Errors
/// They cannot be built, or the tokenizer has tokens that the model does not know.
pub(crate) fn build(
    assets: TextAssets,
    vocab: usize,
) -> Result<(Arc<Tokenizer>, Option<Arc<ChatTemplate>>)> {
    let tokenizer = tokenizer(assets.tokenizer)?;
    let found = tokenizer.vocab_size();
    ensure!(
        found <= vocab,
        "the tokenizer has {found} tokens, but the model's vocabulary only {vocab}; they do not \
         belong together"
    );
    let source = assets.chat_template;
    let template = source.map(|source| ChatTemplate::new(&source, tokenizer.special_tokens()));
    Ok((Arc::new(tokenizer), template.transpose()?.map(Arc::new)))
}

fn tokenizer(assets: TokenizerAssets) -> Result<Tokenizer, TokenizerError> {
    match assets {
        TokenizerAssets::File(TokenizerFile { path, bos, eos, add_bos, ends }) => {
            Tokenizer::from_file(&path)?.with_roles(&Roles { bos, eos, add_bos, ends })
        }
        TokenizerAssets::Vocabulary(assets) => Tokenizer::from_vocabulary(vocabulary(assets)?),
    }
}

fn vocabulary(assets: VocabularyAssets) -> Result<Vocabulary, TokenizerError> {
    let kinds = assets.kinds.into_iter().map(TokenKind::try_from).collect::<Result<_, _>>()?;
    Ok(Vocabulary {
        model: assets.model,
        pre: assets.pre,
        tokens: assets.tokens,
        kinds,
        scores: assets.scores,
        merges: assets.merges,
        bos: assets.bos,
        eos: assets.eos,
        eot: assets.eot,
        unknown: assets.unknown,
        add_bos: assets.add_bos,
        add_space_prefix: assets.add_space_prefix,
    })
}
