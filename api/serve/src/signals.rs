//! What the process is told from outside.
//!
//! The first SIGTERM or SIGINT drains, the second one ends the process at once, whatever is open.
//! SIGHUP reads the configuration again.

use std::process;

use actix_rt::signal::unix::{SignalKind, signal};
use anyhow::{Context, Result};
use runtime::Handle;

/// What a shell reports of a process that a signal ended: this, and the signal's number.
const ENDED_BY_SIGNAL: i32 = 128;

/// Listens for the signals that end the process. Inside a running system.
///
/// # Errors
/// The operating system refuses.
pub(crate) fn drain_on_signal(handle: &Handle) -> Result<()> {
    let (send, mut receive) = tokio::sync::mpsc::channel(2);
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).context("cannot listen for signals")?;
        let send = send.clone();
        actix_rt::spawn(async move {
            // The receiver takes two at most, and the second one does not return.
            while signals.recv().await.is_some() && send.try_send(kind).is_ok() {}
        });
    }
    let handle = handle.clone();
    actix_rt::spawn(async move {
        if receive.recv().await.is_some() {
            tracing::info!(
                "draining: nothing new is taken; a second signal ends the process at once"
            );
            handle.drain();
        }
        if let Some(kind) = receive.recv().await {
            process::exit(ENDED_BY_SIGNAL + kind.as_raw_value());
        }
    });
    Ok(())
}

/// Calls back at each SIGHUP. Inside a running system.
///
/// # Errors
/// The operating system refuses.
pub(crate) fn on_hangup(mut hear: impl FnMut() + 'static) -> Result<()> {
    let mut signals = signal(SignalKind::hangup()).context("cannot listen for signals")?;
    actix_rt::spawn(async move {
        while signals.recv().await.is_some() {
            hear();
        }
    });
    Ok(())
}
