//! From a configuration to what a runtime is started with: the model's text side, and the way to
//! build its engine.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result};
use engine::{ModelFile, TextAssets};
use runtime::{ExecutorFactory, Model, ModelCard};
use runtime_text::{ChatTemplate, TokenKind, Tokenizer, TokenizerError, Vocabulary};

use crate::config::Config;

/// A model, ready to be started.
pub(crate) struct Assembled {
    pub(crate) model: Model,
    pub(crate) factory: ExecutorFactory,
    pub(crate) times: Times,
}

/// How long each part of getting here took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Opening the file and checking its header.
    pub(crate) open: Duration,
    /// Building the tokenizer and the chat template.
    pub(crate) text: Duration,
}

/// Opens a model file, and makes everything of it that needs no engine.
///
/// # Errors
/// The file is no model, or one that cannot run.
pub(crate) fn assemble(path: &Path, config: &Config, engine: engine::Config) -> Result<Assembled> {
    let context = || format!("cannot read the model {}", path.display());
    let started = Instant::now();
    let file = ModelFile::open(path).with_context(context)?;
    file.check().with_context(context)?;
    let opened = Instant::now();
    let card = card(path, &file, config)?;
    let model = text(file.text(), card).with_context(context)?;
    let times = Times { open: opened - started, text: opened.elapsed() };
    Ok(Assembled { model, factory: factory(file, engine), times })
}

fn factory(file: ModelFile, config: engine::Config) -> ExecutorFactory {
    Arc::new(move || {
        let started = Instant::now();
        let executor = engine::load(&file, &config)?;
        let (info, took) = (executor.info(), started.elapsed());
        tracing::info!(
            took_ms = milliseconds(took),
            weight_bytes = info.weight_bytes,
            kv_bytes = info.kv_bytes,
            num_blocks = info.num_blocks,
            context = info.context,
            "the engine is built"
        );
        Ok(executor)
    })
}

fn card(path: &Path, file: &ModelFile, config: &Config) -> Result<ModelCard> {
    let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
    let id = if config.model.id.is_empty() { stem.into_owned() } else { config.model.id.clone() };
    let modified = path.metadata().and_then(|metadata| metadata.modified());
    let modified = modified.with_context(|| format!("cannot read {}", path.display()))?;
    let created = modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let context = match config.engine.context_max {
        0 => file.context(),
        asked => asked.min(file.context()),
    };
    Ok(ModelCard { id, created, context })
}

fn text(assets: TextAssets, card: ModelCard) -> Result<Model> {
    let source = assets.chat_template.clone();
    let tokenizer = Tokenizer::from_vocabulary(vocabulary(assets)?)?;
    let template = source.map(|source| ChatTemplate::new(&source, tokenizer.special_tokens()));
    let template = template.transpose()?.map(Arc::new);
    Ok(Model { card, tokenizer: Arc::new(tokenizer), template })
}

fn vocabulary(assets: TextAssets) -> Result<Vocabulary, TokenizerError> {
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

/// For a log line.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
