//! Antiphon and a peer under the same closed-loop load, in turn on the same cores.
//!
//! `bench-serve --model FILE.gguf [--peer PATH/llama-server]` starts each server on the loopback
//! interface, lets N clients send one streamed completion after the other, repeats the pairs
//! interleaved, and prints medians and ratios. Prompts are random token ids, all different, so that
//! no server's prompt cache helps it. The client is part of the load on the machine, the same for
//! both.

mod client;
mod load;
mod report;
mod server;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

use crate::load::Shape;
use crate::report::Table;
use crate::server::{Kind, Server};

#[derive(Parser)]
#[command(about = "Compares served speed and memory with a peer's, in one run")]
struct Options {
    /// The model, a GGUF file that both servers load; for Antiphon alone, any source that it takes.
    #[arg(long)]
    model: String,
    /// Antiphon's configuration, besides the model.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Antiphon's binary.
    #[arg(long, default_value = "target/release/antiphon")]
    antiphon: PathBuf,
    /// llama.cpp's server; without it only Antiphon is measured.
    #[arg(long)]
    peer: Option<PathBuf>,
    /// Numbers of clients, each a row of the table.
    #[arg(long, value_delimiter = ',', default_value = "1,4,16,32")]
    clients: Vec<usize>,
    /// Tokens of each prompt.
    #[arg(long, default_value_t = 128)]
    prompt: usize,
    /// Prompts are random ids from 300 up to this: less for a model of fewer tokens.
    #[arg(long, default_value_t = 20_300, value_parser = clap::value_parser!(u32).range(301..))]
    vocabulary: u32,
    /// Tokens of each output.
    #[arg(long, default_value_t = 64)]
    output: usize,
    /// Requests that each client sends in one repeat.
    #[arg(long, default_value_t = 3)]
    requests: usize,
    /// Interleaved repeats; the table shows medians.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Threads that each server computes with; 0 lets it choose.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

impl Options {
    fn shape(&self) -> Shape {
        Shape { prompt: self.prompt, output: self.output, vocabulary: self.vocabulary }
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let slots = options.clients.iter().copied().max().unwrap_or(1);
    let context = options.prompt + options.output + 64;
    let mut kinds = vec![Kind::Antiphon(options.antiphon.clone(), options.config.clone())];
    kinds.extend(options.peer.clone().map(Kind::LlamaServer));

    let mut table = Table::default();
    for repeat in 0..options.repeats {
        for kind in &kinds {
            let server = Server::start(kind, &options.model, options.threads, slots, context)?;
            table.ready(kind.name(), server.ready());
            let shape = options.shape();
            load::closed_loop(server.port(), 1, 1, shape, u64::MAX)?; // warm-up
            for &clients in &options.clients {
                let seed = (repeat * 1_000 + clients) as u64;
                let run = load::closed_loop(server.port(), clients, options.requests, shape, seed)?;
                table.run(kind.name(), clients, &run);
            }
            table.memory(kind.name(), server.peak_rss_bytes()?);
        }
    }
    let file_bytes = std::fs::metadata(&options.model).ok().map(|file| file.len());
    report::print(&table, &options.clients, file_bytes);
    Ok(())
}
