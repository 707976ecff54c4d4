//! `antiphon inspect SOURCE`: what a model is.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::Inspect;
use crate::source::locate;
use crate::terminal;

pub(crate) fn run(options: &Inspect) -> Result<ExitCode> {
    let summary = locate(&options.source)?.open()?.summary();
    let summary = match options.sequences.zip(options.tokens) {
        Some((sequences, tokens)) => summary.for_load(sequences, tokens),
        None => summary,
    };
    terminal::write(&format!("{}\n", summary.to_string().trim_end()))?;
    Ok(ExitCode::SUCCESS)
}
