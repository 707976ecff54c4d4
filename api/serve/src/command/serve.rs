//! `antiphon serve`: a model over HTTP, until a signal or a failure.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use actix_rt::System;
use anyhow::{Context, Result, bail};
use api::{ReloadAnswer, Reloader};
use runtime::{Handle, Runtime, Status};
use tokio::sync::mpsc;

use crate::assemble::{Assembled, Times, assemble, milliseconds};
use crate::cli::Serve;
use crate::config::compose::compose;
use crate::config::{self, Config};
use crate::logging::Logging;
use crate::reload::Reload;
use crate::source::{Source, locate};
use crate::usage::UsageLog;
use crate::{files, reach, signals, terminal};

pub(crate) fn run(options: &Serve) -> Result<ExitCode> {
    let started = Instant::now();
    let sources = options.sources();
    let config = config::load(&sources)?;
    let composed = compose(&config)?;
    reach::check(&config, &config.http)?;
    let source: Source = config.model.source.parse().context("`model.source`")?;
    let logging = Logging::start(&config.log)?;
    files::raise_limit();
    let model = locate(&source)?;
    let located = Instant::now();
    let Assembled { model, factory, times } = assemble(&model, &config, composed.engine)?;
    System::new().block_on(async move {
        let began = Instant::now();
        let handle = Runtime::start(composed.runtime, model, factory);
        let tenants = handle.set_tenancy(&composed.tenancy)?;
        tracing::info!("tenants: {tenants}");
        let usage = start_usage(&config, &handle)?;
        let (reloader, asked) = Reloader::new();
        let (server, addresses) = api::bind(composed.api, handle.clone(), reloader)
            .with_context(|| cannot_listen(&config))?;
        let stopper = server.handle();
        actix_rt::spawn(server);
        signals::drain_on_signal(&handle)?;
        let reload = Reload::new(sources, config, logging, handle.clone());
        let reload = match &usage {
            Some(usage) => reload.reopening(usage.reopen()),
            None => reload,
        };
        reload_when_asked(reload, asked)?;
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
        if let Some(usage) = usage {
            usage.finish();
        }
        end(&handle)
    })
}

/// Starts to put on record what requests use, if that is asked for.
fn start_usage(config: &Config, handle: &Handle) -> Result<Option<UsageLog>> {
    if config.log.usage.is_empty() {
        return Ok(None);
    }
    let usage = UsageLog::start(&config.log.usage, &handle.card().id, handle.telemetry())?;
    handle.record_usage(usage.sink());
    Ok(Some(usage))
}

/// Reloads at each SIGHUP, and whenever an admin asks for it.
fn reload_when_asked(reload: Reload, mut asked: mpsc::Receiver<ReloadAnswer>) -> Result<()> {
    // Both are on this thread, and a reload waits for nothing, so they take turns.
    let reload = Rc::new(RefCell::new(reload));
    let at_hangup = Rc::clone(&reload);
    signals::on_hangup(move || drop(at_hangup.borrow_mut().run()))?;
    actix_rt::spawn(async move {
        while let Some(answer) = asked.recv().await {
            // Whoever asked may have gone.
            let _ = answer.send(reload.borrow_mut().run());
        }
    });
    Ok(())
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
    // A server that knows its tenants wants to know who asks.
    let key = match handle.caller(None) {
        Some(_) => "",
        None => "-H 'authorization: Bearer KEY' ",
    };
    let body = body.to_string().replace('\'', r"'\''");
    terminal::write(&format!(
        "serving {id} on http://{address}; try:\n\
         curl -N http://{address}/v1/chat/completions -H 'content-type: application/json' \
         {key}-d '{body}'\n"
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
