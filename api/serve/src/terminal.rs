//! What people see: answers on standard output, notes and errors on standard error.
//!
//! Whoever reads may have gone; that ends a program that only prints, never one that serves.

use std::io::{self, Write};

/// Writes to standard output, at once.
///
/// # Errors
/// Nobody reads.
pub(crate) fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A line for whoever waits, on standard error.
pub(crate) fn note(text: &str) {
    line(text);
}

/// An error and its causes, one a line.
pub(crate) fn error(error: &anyhow::Error) {
    let mut causes = error.chain();
    if let Some(first) = causes.next() {
        line(&format!("error: {first}"));
    }
    for cause in causes {
        line(&format!("  because: {cause}"));
    }
}

fn line(text: &str) {
    // One write, so that lines of several processes stay whole. When nobody listens there is nobody
    // to tell.
    drop(io::stderr().lock().write_all(format!("{text}\n").as_bytes()));
}
