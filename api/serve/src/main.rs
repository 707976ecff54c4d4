//! The composition root: the one place that knows every crate.
//!
//! It reads the command line and the configuration, brings the model onto the machine, introduces
//! the engine to the runtime and the runtime to the HTTP edge, and then only waits for signals.
//! Nothing here decides how a request is served. Start reading at [`command`].

mod assemble;
mod cli;
mod command;
mod config;
mod files;
mod logging;
mod reach;
mod reload;
mod signals;
mod source;
mod terminal;
mod text;
mod usage;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match command::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            terminal::error(&error);
            ExitCode::FAILURE
        }
    }
}
