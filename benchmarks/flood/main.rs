//! What a flood of one tenant does to another, and a prompt of the whole context to running
//! streams: through the real scheduler, in virtual time.
//!
//! `bench-flood --plot FILE.svg` prints both tables, for two CPU cores and the demo model and for
//! an H100 and a mixture of 30 billion weights, and draws the quiet tenant's times to first token.

#![expect(clippy::print_stdout, reason = "the tables are the program's output")]

mod context;
mod device;
mod flood;
mod plot;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;

use crate::device::Device;

#[derive(Parser)]
#[command(about = "Plays a flood through the scheduler, fairly and in order")]
struct Options {
    /// Where to draw the quiet tenant's times to first token.
    #[arg(long)]
    plot: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let devices = [Device::cpu(), Device::h100()];
    println!("A flood of 200 requests of 2,000 tokens beside one short request a second:\n");
    println!(
        "| device | order | quiet TTFT ms p50 | p99 | p99 against alone | within 1.5 x alone + a \
         step | loud TTFT ms p50 | output tok/s, busy |"
    );
    println!("| --- | --- | ---: | ---: | ---: | --- | ---: | ---: |");
    let mut panels = Vec::new();
    for device in &devices {
        let flood = flood::run(device)?;
        flood.print(device);
        panels.push(flood.panel(device));
    }
    println!("\nA prompt of the whole context beside running streams:\n");
    println!(
        "| device | streams | context | ITL p99 ms without | with | grows by | without a target | \
         TTFT of the prompt s |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for device in &devices {
        context::print(device)?;
    }
    if let Some(path) = options.plot {
        let drawn = plot::draw(&panels);
        fs::write(&path, drawn).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
