//! How far a fetch is.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::terminal;

/// A bar on a terminal; a line a tenth elsewhere.
pub(crate) struct Progress {
    bar: ProgressBar,
    what: String,
    total: Option<u64>,
    /// Tenths already told, where there is no terminal.
    told: u64,
}

impl Progress {
    pub(crate) fn new(what: &str, total: Option<u64>) -> Self {
        let bar = if io::stderr().is_terminal() { bar(total) } else { ProgressBar::hidden() };
        bar.set_message(what.to_owned());
        if bar.is_hidden() {
            let size = total.map(|total| format!(" ({})", HumanBytes(total))).unwrap_or_default();
            terminal::note(&format!("fetching {what}{size}"));
        }
        Self { bar, what: what.to_owned(), total, told: 0 }
    }

    /// Says how many bytes there are by now. May be called as often as one likes.
    pub(crate) fn at(&mut self, bytes: u64) {
        self.bar.set_position(self.total.map_or(bytes, |total| bytes.min(total)));
        let Some(total) = self.total.filter(|total| *total > 0 && self.bar.is_hidden()) else {
            return;
        };
        let tenth = (bytes.saturating_mul(10) / total).min(10);
        if tenth > self.told {
            self.told = tenth;
            terminal::note(&format!("fetching {}: {} %", self.what, tenth * 10));
        }
    }

    /// What follows the fetch, which may take a moment: shown beside the bar.
    pub(crate) fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A writer that says how far it is.
pub(crate) struct Telling<'a, W> {
    pub(crate) inner: W,
    pub(crate) progress: &'a mut Progress,
    pub(crate) bytes: u64,
}

impl<W: Write> Write for Telling<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.bytes += count as u64;
        self.progress.at(self.bytes);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template = match total {
        Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}",
        None => "{spinner} {msg} {bytes} {bytes_per_sec}",
    };
    bar.set_style(ProgressStyle::with_template(template).expect("the templates are constants"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
