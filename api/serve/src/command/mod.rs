//! What each command does, a file each.

mod check;
mod generate;
mod inspect;
mod key;
mod pull;
mod serve;
mod simulate;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Cli, Command};

/// Does what the command line says.
///
/// # Errors
/// Whatever keeps the command from doing it; the chain says why.
pub(crate) fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Check(options) => check::run(&options),
        Command::Generate(options) => generate::run(&options),
        Command::Inspect(options) => inspect::run(&options),
        Command::Key(options) => key::run(&options),
        Command::Pull(options) => pull::run(&options),
        Command::Serve(options) => serve::run(&options),
        Command::Simulate(options) => simulate::run(&options),
    }
}
