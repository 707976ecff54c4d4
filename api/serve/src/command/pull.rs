//! `antiphon pull SOURCE`: a model into the cache.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::Pull;
use crate::source::{locate, verify};
use crate::terminal;

pub(crate) fn run(options: &Pull) -> Result<ExitCode> {
    let located = locate(&options.source)?;
    if options.verify {
        verify(&options.source)?;
    }
    terminal::write(&format!("{}\n", located.path().display()))?;
    Ok(ExitCode::SUCCESS)
}
