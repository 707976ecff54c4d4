//! Medians, bests and ratios, as a table in Markdown.

#![expect(clippy::print_stdout, reason = "the table is the program's output")]

use std::fmt;
use std::path::Path;

use crate::Test;

/// All samples, by model and test.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<((String, Test), Samples)>,
}

/// Tokens a second, one of each repeat.
#[derive(Default)]
struct Samples {
    antiphon: Vec<f64>,
    peer: Vec<f64>,
}

impl Table {
    pub(crate) fn antiphon(&mut self, model: &Path, test: Test, rate: f64) {
        self.samples(model, test).antiphon.push(rate);
    }

    pub(crate) fn peer(&mut self, model: &Path, test: Test, rate: f64) {
        self.samples(model, test).peer.push(rate);
    }

    /// Rows are kept in the order of their first sample.
    fn samples(&mut self, model: &Path, test: Test) -> &mut Samples {
        let name = model.file_stem().unwrap_or(model.as_os_str()).to_string_lossy();
        let key = (name.into_owned(), test);
        let at = self.rows.iter().position(|(row, _)| *row == key).unwrap_or_else(|| {
            self.rows.push((key, Samples::default()));
            self.rows.len() - 1
        });
        &mut self.rows[at].1
    }
}

/// Prints the table; ratios are Antiphon's rate to the peer's.
pub(crate) fn print(table: &Table) {
    println!(
        "| model | test | antiphon tok/s | best | llama-bench tok/s | best | ratio | of bests |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for ((model, test), samples) in &table.rows {
        let (ours, our_best) = (median(&samples.antiphon), best(&samples.antiphon));
        print!("| {model} | {test} | {ours:.1} | {our_best:.1} ");
        if samples.peer.is_empty() {
            println!("| | | | |");
            continue;
        }
        let (peers, peer_best) = (median(&samples.peer), best(&samples.peer));
        print!("| {peers:.1} | {peer_best:.1} ");
        println!("| {:.2} | {:.2} |", ours / peers, our_best / peer_best);
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prompt(tokens) => write!(f, "pp {tokens}"),
            Self::Generate { tokens, batch } => write!(f, "tg {tokens} x {batch}"),
        }
    }
}

fn best(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mid = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { (sorted[mid - 1] + sorted[mid]) / 2.0 } else { sorted[mid] }
}
