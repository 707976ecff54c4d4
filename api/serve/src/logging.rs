//! The log: one line an event, on standard error.
//!
//! Lines go through a bounded queue to a thread of their own. If whoever reads them stops reading,
//! the queue fills and further lines are dropped and counted: a blocked pipe never stops serving.

use std::io;

use anyhow::{Context, Result};
use tracing::Level as Importance;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{Format, Level, Log};

/// Lines that may wait for a reader. At some 200 bytes each this is below 2 MiB.
const LINES_WAITING_MAX: usize = 8192;

/// Of other people's crates, only what is at least this important is written.
const OTHERS: LevelFilter = LevelFilter::WARN;

/// The crates of this workspace that log.
const OURS: &[&str] =
    &["antiphon", "api", "engine", "engine_cpu", "engine_model", "runtime", "runtime_text"];

/// The running log. Dropping it writes what waits, for at most about a second.
pub(crate) struct Logging {
    filter: reload::Handle<Targets, Registry>,
    dropped: ErrorCounter,
    _guard: WorkerGuard,
}

impl Logging {
    /// Starts to log. Once a process.
    ///
    /// # Errors
    /// It was started before.
    pub(crate) fn start(log: &Log) -> Result<Self> {
        let (writer, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(LINES_WAITING_MAX)
            .thread_name("log")
            .finish(io::stderr());
        let dropped = writer.error_counter();
        let (filter, handle) = reload::Layer::new(targets(log.level));
        let lines = fmt::layer().with_writer(writer).with_ansi(false);
        let lines = match log.format {
            Format::Json => lines.json().flatten_event(true).boxed(),
            Format::Text => lines.boxed(),
        };
        let subscriber = Registry::default().with(lines.with_filter(filter));
        tracing::subscriber::set_global_default(subscriber).context("the log runs already")?;
        Ok(Self { filter: handle, dropped, _guard: guard })
    }

    /// Writes lines of this level from now on.
    pub(crate) fn set_level(&self, level: Level) {
        // Fails only when there is no subscriber any more, and then there is no log either.
        drop(self.filter.reload(targets(level)));
    }

    /// Lines that were dropped because nobody read them.
    pub(crate) fn num_dropped(&self) -> usize {
        self.dropped.dropped_lines()
    }
}

fn targets(level: Level) -> Targets {
    let level = match level {
        Level::Off => LevelFilter::OFF,
        Level::Error => Importance::ERROR.into(),
        Level::Warn => Importance::WARN.into(),
        Level::Info => Importance::INFO.into(),
        Level::Debug => Importance::DEBUG.into(),
        Level::Trace => Importance::TRACE.into(),
    };
    let ours = OURS.iter().map(|target| (*target, level));
    Targets::new().with_default(level.min(OTHERS)).with_targets(ours)
}
