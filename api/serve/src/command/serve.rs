//! `antiphon serve`: a model over HTTP, until a signal or a failure.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;

use actix_rt::System;
use anyhow::{Context, Result, bail};
use runtime::{Handle, Runtime, Status};

use crate::assemble::{Assembled, Times, assemble, milliseconds};
use crate::cli::Serve;
use crate::config::compose::compose;
use crate::config::{self, Config};
use crate::logging::Logging;
use crate::reload::Reload;
use crate::source::{Source, locate};
use crate::{signals, terminal};

pub(crate) fn run(options: &Serve) -> Result<ExitCode> {
    let started = Instant::now();
    let sources = options.sources();
    let config = config::load(&sources)?;
    let composed = compose(&config)?;
    let source: Source = config.model.source.parse().context("`model.source`")?;
    let logging = Logging::start(&config.log)?;
    let model = locate(&source)?;
    let located = Instant::now();
    let Assembled { model, factory, times } = assemble(&model, &config, composed.engine)?;
    System::new().block_on(async move {
        let began = Instant::now();
        let handle = Runtime::start(composed.runtime, model, factory);
        let (server, addresses) =
            api::bind(composed.api, handle.clone()).with_context(|| cannot_listen(&config))?;
        let stopper = server.handle();
        actix_rt::spawn(server);
        signals::drain_on_signal(&handle)?;
        let mut reload = Reload::new(sources, config, logging);
        signals::on_hangup(move || reload.run())?;
        serve(&handle, || {
            let Times { open, text } = times;
            tracing::info!(
                locate_ms = milliseconds(located - started),
                open_ms = milliseconds(open),
                text_ms = milliseconds(text),
                engine_ms = milliseconds(began.elapsed()),
                total_ms = milliseconds(started.elapsed()),
                "ready"
            );
            announce(&handle, &addresses)
        })
        .await?;
        stopper.stop(true).await;
        end(&handle)
    })
}

/// Comes back when the runtime has stopped.
async fn serve(handle: &Handle, announce: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut status = handle.watch();
    let over = |status: &Status| matches!(status, Status::Serving | Status::Stopped);
    // The sender lives as long as the handle.
    let first = *status.wait_for(over).await.context("the runtime is gone")?;
    if first == Status::Serving {
        announce()?;
        status
            .wait_for(|status| *status == Status::Stopped)
            .await
            .context("the runtime is gone")?;
    }
    Ok(())
}

fn announce(handle: &Handle, addresses: &[SocketAddr]) -> Result<()> {
    let Some(address) = addresses.first() else { bail!("the server listens nowhere") };
    let id = &handle.card().id;
    let body = serde_json::json!({
        "model": id,
        "stream": true,
        "temperature": 0,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "What is the capital of France?"},
        ],
    });
    let body = body.to_string().replace('\'', r"'\''");
    terminal::write(&format!(
        "serving {id} on http://{address}; try:\n\
         curl -N http://{address}/v1/chat/completions -H 'content-type: application/json' \
         -d '{body}'\n"
    ))
    .context("cannot write to standard output")
}

/// The exit code, and the failure that it stands for.
fn end(handle: &Handle) -> Result<ExitCode> {
    let code = handle.exit_code().context("the runtime stopped without a word")?;
    if code != 0 {
        let reason = handle.failure().unwrap_or_else(|| "no reason is known".to_owned());
        terminal::error(&anyhow::anyhow!(reason).context("the engine failed"));
    }
    Ok(ExitCode::from(code))
}

fn cannot_listen(config: &Config) -> String {
    let (host, port) = (&config.http.host, config.http.port);
    format!("cannot listen on {host}:{port}; choose another address with --host and --port")
}
