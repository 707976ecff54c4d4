//! Thousands of open streams: whether all end as they should, and what each takes of memory.
//!
//! `bench-streams` starts the server on its simulated engine, opens so many streamed completions at
//! once, reads all of them on one thread, and prints one row: streams that ended with all their
//! tokens, the server's resident memory at its peak for each open stream, and how long everything
//! took. Client and server share the machine's cores.

#![expect(clippy::print_stdout, reason = "the table is the program's output")]

mod reader;
mod server;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use mio::{Events, Poll, Token};

use crate::reader::{Reader, State};
use crate::server::Server;

#[derive(Parser)]
#[command(about = "Opens thousands of streams at once, and counts what comes of them")]
struct Options {
    /// The server's binary.
    #[arg(long, default_value = "target/release/antiphon")]
    antiphon: PathBuf,
    /// The server's configuration.
    #[arg(long, default_value = "configs/streams.toml")]
    config: PathBuf,
    /// Where the model is, whose tokens are made up.
    #[arg(long)]
    model: String,
    /// Streams open at once.
    #[arg(long, default_value_t = 10_000)]
    streams: usize,
    /// Tokens of each output.
    #[arg(long, default_value_t = 128)]
    output: usize,
    /// Tokens of each prompt.
    #[arg(long, default_value_t = 16)]
    prompt: usize,
}

/// Streams that are being opened at any moment: less than a listener's backlog.
const OPENING_MAX: usize = 256;

/// Nothing takes as long as this without a byte.
const SILENCE_MAX: Duration = Duration::from_secs(120);

fn main() -> Result<()> {
    let options = Options::parse();
    let server = Server::start(&options.antiphon, &options.config, &options.model)?;
    let quiet = server.resident_bytes()?;
    let run = Run::of(&server, &options)?;
    println!(
        "| streams | complete | lost | open at once | KiB a stream | opened in s | all in s | \
         output tok/s | TTFT s p50 | p99 |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let each = run.peak_bytes.saturating_sub(quiet) as f64 / 1_024.0 / run.open_max as f64;
    let rate = (run.complete * options.output) as f64 / run.whole.as_secs_f64();
    println!(
        "| {} | {} | {} | {} | {each:.1} | {:.1} | {:.1} | {rate:.0} | {:.2} | {:.2} |",
        options.streams,
        run.complete,
        options.streams - run.complete,
        run.open_max,
        run.opened.as_secs_f64(),
        run.whole.as_secs_f64(),
        run.ttft(0.5),
        run.ttft(0.99),
    );
    println!("\nThe server had {:.1} MiB before.", quiet as f64 / f64::from(1 << 20));
    ensure!(
        run.complete == options.streams,
        "{} streams were lost",
        options.streams - run.complete
    );
    Ok(())
}

/// What came of all streams.
struct Run {
    complete: usize,
    open_max: usize,
    /// The server's.
    peak_bytes: u64,
    opened: Duration,
    whole: Duration,
    ttft: Vec<f64>,
}

impl Run {
    fn of(server: &Server, options: &Options) -> Result<Self> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(1_024);
        let mut readers: Vec<Option<Reader>> = Vec::with_capacity(options.streams);
        let mut run = Self {
            complete: 0,
            open_max: 0,
            peak_bytes: 0,
            opened: Duration::ZERO,
            whole: Duration::ZERO,
            ttft: Vec::new(),
        };
        let (mut opening, mut open, mut ended) = (VecDeque::new(), 0, 0);
        let started = Instant::now();
        while ended < options.streams {
            while readers.len() < options.streams && opening.len() < OPENING_MAX {
                let token = Token(readers.len());
                readers.push(Some(Reader::open(server.address(), &poll, token, options)?));
                opening.push_back(token);
            }
            poll.poll(&mut events, Some(SILENCE_MAX))?;
            ensure!(!events.is_empty(), "silence, with {open} streams open and {ended} ended");
            for event in &events {
                let Some(reader) = &mut readers[event.token().0] else { continue };
                let was = reader.state();
                let now = reader.advance();
                if was == State::Opening && now != State::Opening {
                    opening.retain(|&token| token != event.token());
                    open += 1;
                }
                if matches!(now, State::Complete | State::Lost) {
                    run.complete += usize::from(now == State::Complete);
                    run.ttft.extend(reader.ttft().map(|ttft| ttft.as_secs_f64()));
                    readers[event.token().0] = None;
                    (open, ended) = (open - 1, ended + 1);
                }
            }
            if open > run.open_max {
                run.open_max = open;
                run.opened = started.elapsed();
            }
        }
        run.whole = started.elapsed();
        run.peak_bytes = server.peak_bytes()?;
        run.ttft.sort_by(f64::total_cmp);
        Ok(run)
    }

    fn ttft(&self, part: f64) -> f64 {
        let index = (self.ttft.len().saturating_sub(1) as f64 * part) as usize;
        self.ttft.get(index).copied().unwrap_or(f64::NAN)
    }
}
