//! The usage log: a line of JSON for each request that was taken and has ended, in a file of its
//! own.
//!
//! Records go through a bounded queue to a thread that writes them. If the disk does not keep up,
//! or does not take them, records are lost and counted: it never stops serving. Rotation is left to
//! others: a reload opens the file again, by its name.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use parking_lot::Mutex;
use runtime::{Telemetry, UsageRecord, UsageSink};
use serde::Serialize;

/// Records that may wait for the disk. At some 300 bytes each this is below 3 MiB.
const WAITING_MAX: usize = 8192;

/// Longest that the process waits, at its end, for records to be written.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// The running log.
pub(crate) struct UsageLog {
    /// Taken out when no more records are wanted, which ends the thread.
    queue: Arc<Mutex<Option<SyncSender<Entry>>>>,
    reopen: Arc<AtomicBool>,
    written: Receiver<()>,
    thread: JoinHandle<()>,
}

/// A record, and when it came.
struct Entry {
    time: SystemTime,
    record: UsageRecord,
}

/// What a line holds.
#[derive(Serialize)]
struct Line<'a> {
    /// Seconds since 1970, to the millisecond.
    time: f64,
    request: &'a str,
    tenant: &'a str,
    model: &'a str,
    prompt_tokens: u32,
    cached_tokens: u32,
    output_tokens: u32,
    finish_reason: &'a str,
    queue_ms: Option<f64>,
    ttft_ms: Option<f64>,
    total_ms: f64,
}

impl UsageLog {
    /// Starts to write to this file, after what it holds.
    ///
    /// # Errors
    /// It cannot be opened, or there is no thread left.
    pub(crate) fn start(path: &str, model: &str, telemetry: Arc<Telemetry>) -> Result<Self> {
        let context = || format!("cannot write to `log.usage`, {path}");
        let path = PathBuf::from(path);
        let file = open(&path).with_context(context)?;
        let (send, receive) = sync_channel(WAITING_MAX);
        let (done, written) = sync_channel(1);
        let reopen = Arc::new(AtomicBool::new(false));
        let mut writer = Writer {
            path,
            file: Some(file),
            is_failing: false,
            model: model.to_owned(),
            reopen: Arc::clone(&reopen),
            telemetry,
        };
        let run = move || {
            receive.iter().for_each(|entry| writer.take(&entry));
            // Whoever waits for it may have gone.
            let _ = done.send(());
        };
        let thread = Builder::new().name("usage".into()).spawn(run).with_context(context)?;
        Ok(Self { queue: Arc::new(Mutex::new(Some(send))), reopen, written, thread })
    }

    /// Where the runtime puts records.
    pub(crate) fn sink(&self) -> UsageSink {
        let queue = Arc::clone(&self.queue);
        UsageSink::new(move |record| {
            let entry = Entry { time: SystemTime::now(), record };
            queue.lock().as_ref().is_some_and(|queue| queue.try_send(entry).is_ok())
        })
    }

    /// Opens the file by its name before the next line is written.
    pub(crate) fn reopen(&self) -> impl Fn() + 'static {
        let reopen = Arc::clone(&self.reopen);
        move || reopen.store(true, Ordering::Relaxed)
    }

    /// Writes what waits, for at most about a second.
    pub(crate) fn finish(self) {
        drop(self.queue.lock().take());
        if self.written.recv_timeout(FINISH_TIMEOUT).is_ok() {
            // It has said that it is done.
            let _ = self.thread.join();
        }
    }
}

/// What the thread holds.
struct Writer {
    path: PathBuf,
    /// `None` until it is opened again.
    file: Option<File>,
    /// Whether the last record was lost.
    is_failing: bool,
    model: String,
    reopen: Arc<AtomicBool>,
    telemetry: Arc<Telemetry>,
}

impl Writer {
    fn take(&mut self, entry: &Entry) {
        if self.reopen.swap(false, Ordering::Relaxed) {
            self.file = None;
        }
        let written = self.write(entry);
        if let Err(error) = &written {
            // The first of many says it.
            if !self.is_failing {
                tracing::error!(%error, path = %self.path.display(), "usage records are lost");
            }
            self.file = None;
            self.telemetry.lose_usage(1);
        }
        self.is_failing = written.is_err();
    }

    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open(&self.path)?),
        };
        file.write_all(line(entry, &self.model).as_bytes())
    }
}

/// Opens the file for lines after those that it holds. One that broke off, when the disk was full
/// or the process was killed, is ended first.
fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let mut last = [b'\n'];
    // An empty file has no last byte, and a pipe none that could be read.
    if file.seek(SeekFrom::End(-1)).is_ok() {
        file.read_exact(&mut last)?;
    }
    if last != [b'\n'] {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

fn line(Entry { time, record }: &Entry, model: &str) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let line = Line {
        time: since.as_millis() as f64 / 1e3,
        request: &record.request,
        tenant: &record.tenant,
        model,
        prompt_tokens: record.usage.prompt,
        cached_tokens: record.usage.cached,
        output_tokens: record.usage.output,
        finish_reason: record.outcome,
        queue_ms: record.queue.map(milliseconds),
        ttft_ms: record.ttft.map(milliseconds),
        total_ms: milliseconds(record.total),
    };
    let mut text = serde_json::to_string(&line).expect("numbers and strings always serialise");
    text.push('\n');
    text
}

/// To the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use runtime::Usage;

    use super::*;

    #[test]
    fn a_line_that_broke_off_is_ended_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usage.jsonl");
        for (before, after) in [("", "x"), ("a\n", "a\nx"), ("a\nb", "a\nb\nx")] {
            std::fs::write(&path, before).unwrap();
            open(&path).unwrap().write_all(b"x").unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn a_record_is_one_line_of_json() {
        let record = UsageRecord {
            request: "req_1".to_owned(),
            tenant: "acme".into(),
            usage: Usage { prompt: 5, cached: 4, output: 3 },
            outcome: "stop",
            queue: Some(Duration::from_micros(1_500)),
            ttft: None,
            total: Duration::from_millis(20),
        };
        let time = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        assert_eq!(
            line(&Entry { time, record }, "m"),
            "{\"time\":1700000000.123,\"request\":\"req_1\",\"tenant\":\"acme\",\"model\":\"m\",\
             \"prompt_tokens\":5,\"cached_tokens\":4,\"output_tokens\":3,\
             \"finish_reason\":\"stop\",\"queue_ms\":1.5,\"ttft_ms\":null,\"total_ms\":20.0}\n"
        );
    }
}
