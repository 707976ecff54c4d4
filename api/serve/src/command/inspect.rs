//! `antiphon inspect SOURCE`: what a model is.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::Inspect;
use crate::source::locate;
use crate::terminal;

pub(crate) fn run(options: &Inspect) -> Result<ExitCode> {
    let file = locate(&options.source)?.open()?;
    terminal::write(&format!("{}\n", file.summary().to_string().trim_end()))?;
    Ok(ExitCode::SUCCESS)
}
