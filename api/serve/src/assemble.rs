//! From a configuration to what a runtime is started with: the model's text side, and the way to
//! build its engine.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result};
use engine::{ModelFile, SamplingDefaults};
use engine_contract::Sampling;
use runtime::{ExecutorFactory, Model, ModelCard};

use crate::config::Config;
use crate::source::Located;
use crate::text;

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

/// Opens a model, and makes everything of it that needs no engine.
///
/// # Errors
/// Its files are no model's, or one's that cannot run.
pub(crate) fn assemble(
    located: &Located,
    config: &Config,
    engine: engine::Config,
) -> Result<Assembled> {
    let context = || format!("cannot read the model {}", located.path().display());
    let started = Instant::now();
    let file = located.open()?;
    file.check().with_context(context)?;
    let opened = Instant::now();
    let assets = file.text().with_context(context)?;
    let sampling = sampling(assets.sampling);
    let (tokenizer, template) = text::build(assets, file.vocab()).with_context(context)?;
    let mut card = card(located.path(), &file, sampling, config)?;
    card.template_variables = template.as_ref().map(|it| it.variables()).unwrap_or_default();
    let model = Model { card, tokenizer, template };
    let times = Times { open: opened - started, text: opened.elapsed() };
    Ok(Assembled { model, factory: factory(file, engine), times })
}

fn factory(file: ModelFile, config: engine::Config) -> ExecutorFactory {
    Arc::new(move || {
        let started = Instant::now();
        let engine::Loaded { executor, device, weights, no_gpu, opening } =
            engine::load(&file, &config)?;
        if let Some(reason) = no_gpu {
            tracing::info!(reason, "no GPU is used");
        }
        let (info, took) = (executor.info(), started.elapsed());
        tracing::info!(
            device,
            opening_ms = milliseconds(opening),
            weights,
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

fn card(path: &Path, file: &ModelFile, sampling: Sampling, config: &Config) -> Result<ModelCard> {
    let id = if config.model.id.is_empty() { file.stem() } else { config.model.id.clone() };
    let modified = path.metadata().and_then(|metadata| metadata.modified());
    let modified = modified.with_context(|| format!("cannot read {}", path.display()))?;
    let created = modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let context = match config.engine.context_max {
        0 => file.context(),
        asked => asked.min(file.context()),
    };
    let template_variables = BTreeSet::new();
    Ok(ModelCard { id, created, context, sampling, template_variables })
}

/// What a model's files do not say is left as the model has it.
fn sampling(defaults: SamplingDefaults) -> Sampling {
    let plain = Sampling::PLAIN;
    Sampling {
        temperature: defaults.temperature.unwrap_or(plain.temperature),
        top_k: defaults.top_k.unwrap_or(plain.top_k),
        // A share of nothing still keeps the most likely token.
        top_p: defaults.top_p.unwrap_or(plain.top_p).max(f32::MIN_POSITIVE),
        min_p: defaults.min_p.unwrap_or(plain.min_p),
        repetition_penalty: defaults.repetition_penalty.unwrap_or(plain.repetition_penalty),
        ..plain
    }
}

/// For a log line.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
