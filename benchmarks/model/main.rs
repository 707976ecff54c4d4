//! The engine alone and a peer on the same model files, in turn on the same cores.
//!
//! `bench-model FILE.gguf... [--peer PATH/llama-bench]` loads each file with the CPU engine,
//! without scheduler or HTTP, and measures what `llama-bench` does: prompt tokens a second (`pp`,
//! one sequence in one step) and generated tokens a second (`tg`, from an empty context), the
//! latter at several batch sizes, for which the peer has no test. Every repeat runs each test of
//! both, one after the other, so that what else the machine does meets both; the table shows
//! medians, the best of all repeats, and the ratios of either. Where the machine is shared, the
//! best tells more.

mod engine;
mod peer;
mod report;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::engine::Engine;
use crate::report::Table;

#[derive(Parser)]
#[command(about = "Compares prompt processing and generation with llama-bench's, in one run")]
struct Options {
    /// Model files; each has its rows of the table.
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// llama.cpp's benchmark; without it only Antiphon is measured.
    #[arg(long)]
    peer: Option<PathBuf>,
    /// Tokens of the prompt; 0 leaves that test out.
    #[arg(long, default_value_t = 512)]
    prompt: usize,
    /// Tokens generated in each sequence; 0 leaves those tests out.
    #[arg(long, default_value_t = 128)]
    generate: usize,
    /// Sequences that generate together, each number a row of the table.
    #[arg(long, value_delimiter = ',', default_value = "1,4,16")]
    batches: Vec<usize>,
    /// Interleaved repeats.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Threads that either computes with.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Test {
    /// One prompt of so many tokens.
    Prompt(usize),
    /// So many tokens in each of so many sequences.
    Generate { tokens: usize, batch: usize },
}

fn main() -> Result<()> {
    let options = Options::parse();
    let tests = options.tests()?;
    let mut table = Table::default();
    for model in &options.models {
        let mut engine = Engine::load(model, options.threads, &tests)
            .with_context(|| format!("loading {}", model.display()))?;
        for &test in &tests {
            engine.run(test)?; // warm-up
        }
        for _ in 0..options.repeats {
            for &test in &tests {
                table.antiphon(model, test, engine.run(test)?);
                if let Some(peer) = &options.peer
                    && let Some(rate) = peer::run(peer, model, options.threads, test)?
                {
                    table.peer(model, test, rate);
                }
            }
        }
    }
    report::print(&table);
    Ok(())
}

impl Options {
    fn tests(&self) -> Result<Vec<Test>> {
        ensure!(self.batches.iter().all(|&batch| batch > 0), "--batches: at least 1 each");
        ensure!(self.repeats > 0 && self.threads > 0, "--repeats, --threads: at least 1");
        let prompt = (self.prompt > 0).then_some(Test::Prompt(self.prompt));
        let tokens = self.generate;
        let batches = if tokens > 0 { self.batches.as_slice() } else { &[] };
        let generate = batches.iter().map(|&batch| Test::Generate { tokens, batch });
        let tests: Vec<_> = prompt.into_iter().chain(generate).collect();
        ensure!(!tests.is_empty(), "--prompt 0 and --generate 0 leave nothing to measure");
        Ok(tests)
    }
}
