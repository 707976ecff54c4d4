//! `antiphon generate`: one completion to the terminal, through the same runtime, without HTTP.

use std::pin::Pin;
use std::process::ExitCode;

use actix_rt::System;
use anyhow::{Context, Result, anyhow, bail, ensure};
use engine_contract::Sampling;
use futures_core::Stream as _;
use runtime::{
    Delta, Encoding, Ends, Failure, Generation, Handle, Prompt, Runtime, Shown, Status, Terms,
};
use runtime_text::Message;

use crate::assemble::{Assembled, assemble};
use crate::cli::Generate;
use crate::config::compose::compose;
use crate::config::{self, Level, Log};
use crate::logging::Logging;
use crate::source::{Source, locate};
use crate::terminal;

pub(crate) fn run(options: &Generate) -> Result<ExitCode> {
    let config = config::load(&options.settings.sources())?;
    let composed = compose(&config)?;
    let source: Source = config.model.source.parse().context("`model.source`")?;
    // The terminal is for the text: of the log, only what went wrong, unless it is asked for.
    let level = options.settings.log_level.unwrap_or(Level::Warn);
    let _logging = Logging::start(&Log { level, ..config.log.clone() })?;
    let Assembled { model, factory, .. } = assemble(&locate(&source)?, &config, composed.engine)?;
    let generate = generate(options, prompt(options, model.template.is_some())?);
    System::new().block_on(async move {
        let handle = Runtime::start(composed.runtime, model, factory);
        serving(&handle).await?;
        let generation =
            handle.worker().generate(generate).await.context("the prompt is refused")?;
        print(generation).await?;
        handle.drain();
        handle.watch().wait_for(|status| *status == Status::Stopped).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// A conversation, or plain text where that is asked for.
fn prompt(options: &Generate, has_template: bool) -> Result<Prompt> {
    if options.raw {
        return Ok(Prompt::Text(options.prompt.clone()));
    }
    ensure!(
        has_template,
        "this model has no chat template; add --raw to continue the prompt as it is"
    );
    let message =
        |role: &str, text: &String| Message { role: role.to_owned(), content: text.clone() };
    let system = options.system.iter().map(|text| message("system", text));
    let messages: Vec<_> = system.chain([message("user", &options.prompt)]).collect();
    Ok(Prompt::Chat(messages.into()))
}

fn generate(options: &Generate, prompt: Prompt) -> runtime::Generate {
    runtime::Generate {
        prompt,
        sampling: Sampling {
            temperature: options.temperature,
            seed: options.seed,
            ..Sampling::GREEDY
        },
        max_tokens: Some(options.max_tokens),
        min_tokens: 0,
        encoding: Encoding::default(),
        stop: Vec::new(),
        stop_tokens: Vec::new(),
        ends: Ends::Heed,
        shown: Shown::default(),
        terms: Terms::default(),
    }
}

async fn serving(handle: &Handle) -> Result<()> {
    let settled = |status: &Status| matches!(status, Status::Serving | Status::Stopped);
    let status = *handle.watch().wait_for(settled).await.context("the runtime is gone")?;
    if status == Status::Serving {
        return Ok(());
    }
    Err(anyhow!(handle.failure().unwrap_or_else(|| "no reason is known".to_owned())))
        .context("the engine cannot be built")
}

async fn print(mut generation: Generation) -> Result<()> {
    while let Some(delta) = std::future::poll_fn(|cx| Pin::new(&mut generation).poll_next(cx)).await
    {
        match delta {
            Delta::Text { text, .. } => terminal::write(&text)?,
            Delta::End { .. } => terminal::write("\n")?,
            Delta::Failed(failure) => bail!("the output ends early: {}", reason(failure)),
        }
    }
    Ok(())
}

fn reason(failure: Failure) -> &'static str {
    match failure {
        Failure::DeadlinePassed => "its deadline passed",
        Failure::Draining => "the runtime is stopping",
        Failure::Engine => "the engine failed",
        Failure::NotFinite => "the model's numbers are not finite",
        Failure::Stalled => "nobody took the text",
    }
}
