//! What steps of a model take on this machine's processors, as a file of costs.
//!
//! `bench-costs --model FILE.gguf > configs/costs/NAME.toml` runs steps of many sizes and prints
//! what the simulated engine reads. Every figure is the least of several steps.

#![expect(clippy::print_stdout, reason = "the file is the program's output")]

mod steps;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

use crate::steps::Steps;

#[derive(Parser)]
#[command(about = "Measures what steps take, and prints a file of costs")]
struct Options {
    /// The model.
    #[arg(long)]
    model: PathBuf,
    /// Threads that compute; 0 is one for each processor.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// What is measured, in words.
    #[arg(long, default_value = "this machine")]
    name: String,
    /// Steps of each kind, of which the fastest counts.
    #[arg(long, default_value_t = 15)]
    repeats: usize,
}

/// Positions of the curve's points.
const POINTS: [u32; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// Where reads and pairs are many.
const FAR: u32 = 768;

/// Rows of the steps that differ in their reads, or in their draws.
const ROWS: u32 = 8;

fn main() -> Result<()> {
    let options = Options::parse();
    let mut steps = Steps::load(&options.model, options.threads, FAR + 512, options.repeats)?;
    let pair_us = {
        let (near, far) = (steps.prompt_us(0, 128)?, steps.prompt_us(FAR, 128)?);
        (far - near).max(0.0) / (128.0 * f64::from(FAR))
    };
    let (near, far) = (steps.decode_us(ROWS, 16)?, steps.decode_us(ROWS, FAR)?);
    let read_us = (far - near).max(0.0) / (f64::from(ROWS) * f64::from(FAR - 16));
    let mut points: Vec<(u32, f64)> = Vec::new();
    for len in POINTS {
        let num_pairs = f64::from(len) * f64::from(len + 1) / 2.0;
        let micros = steps.prompt_us(0, len)? - pair_us * num_pairs;
        let least = points.last().map_or(0.001, |&(_, ms)| ms);
        points.push((len, (micros / 1e3).max(least)));
    }
    let at_rows = points.iter().find(|&&(len, _)| len == ROWS).map_or(0.0, |&(_, ms)| ms * 1e3);
    let reads = read_us * f64::from(ROWS) * 17.0;
    let sampled_us = (near - reads - at_rows).max(0.0) / f64::from(ROWS);
    println!("# What steps take, as `bench-costs` measured it.");
    println!("name = {:?}", options.name);
    print!("{}", steps.sizes());
    let points: Vec<_> = points.iter().map(|(len, ms)| format!("[{len}, {ms:.2}]")).collect();
    println!("points_ms = [\n    {},\n]", points.join(", "));
    println!("sampled_us = {sampled_us:.1}");
    println!("read_ns = {:.1}", read_us * 1e3);
    println!("pair_ns = {:.1}", pair_us * 1e3);
    Ok(())
}
