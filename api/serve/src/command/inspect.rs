//! `antiphon inspect SOURCE`: what a model file holds.

use std::process::ExitCode;

use anyhow::{Context, Result};
use engine::ModelFile;

use crate::cli::Inspect;
use crate::source::locate;
use crate::terminal;

pub(crate) fn run(options: &Inspect) -> Result<ExitCode> {
    let path = locate(&options.source)?;
    let file = ModelFile::open(&path)
        .with_context(|| format!("cannot read the model {}", path.display()))?;
    terminal::write(&format!("{}\n", file.summary().to_string().trim_end()))?;
    Ok(ExitCode::SUCCESS)
}
