//! `antiphon check FILE`: is this configuration right, and what does it amount to?

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::cli::Check;
use crate::config::compose::compose;
use crate::config::{self, Sources};
use crate::source::Source;
use crate::{reach, terminal};

pub(crate) fn run(options: &Check) -> Result<ExitCode> {
    let file = Some(options.file.clone());
    let config = config::load(&Sources { file, ..Sources::from_environment() })?;
    compose(&config)?;
    reach::check(&config, &config.http)?;
    config.model.source.parse::<Source>().context("`model.source`")?;
    let text = toml::to_string(&config).context("cannot write the configuration as TOML")?;
    terminal::write(&text)?;
    Ok(ExitCode::SUCCESS)
}
