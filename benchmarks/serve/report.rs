//! Medians and ratios, as a table in Markdown.

#![expect(clippy::print_stdout, reason = "the table is the program's output")]

use std::collections::BTreeMap;
use std::time::Duration;

use crate::load::Run;

/// All samples of all runs, by server.
#[derive(Default)]
pub(crate) struct Table {
    rates: BTreeMap<(&'static str, usize), Samples>,
    ready_ms: BTreeMap<&'static str, Vec<f64>>,
    peak_mib: BTreeMap<&'static str, Vec<f64>>,
}

#[derive(Default)]
struct Samples {
    output_rate: Vec<f64>,
    ttft_ms: Vec<f64>,
    gaps_ms: Vec<f64>,
    tpot_ms: Vec<f64>,
    idle_percent: Vec<f64>,
}

impl Table {
    pub(crate) fn run(&mut self, server: &'static str, clients: usize, run: &Run) {
        let samples = self.rates.entry((server, clients)).or_default();
        samples.output_rate.push(run.output_rate());
        samples.ttft_ms.extend(run.ttft_ms());
        samples.gaps_ms.extend(run.gaps_ms());
        samples.tpot_ms.extend(run.tpot_ms());
        let share = run.idle.map(|idle| idle.as_secs_f64() / run.elapsed.as_secs_f64());
        samples.idle_percent.extend(share.map(|share| share * 100.0));
    }

    pub(crate) fn ready(&mut self, server: &'static str, ready: Duration) {
        self.ready_ms.entry(server).or_default().push(ready.as_secs_f64() * 1e3);
    }

    pub(crate) fn memory(&mut self, server: &'static str, bytes: u64) {
        self.peak_mib.entry(server).or_default().push(bytes as f64 / f64::from(1 << 20));
    }
}

/// Prints the table; ratios are to the first server that is not Antiphon.
pub(crate) fn print(table: &Table, clients: &[usize], file_bytes: Option<u64>) {
    let servers: Vec<_> = table.ready_ms.keys().copied().collect();
    let peer = servers.iter().copied().find(|server| *server != "antiphon");
    println!(
        "| clients | server | output tok/s | min..max | ratio | TTFT ms p50 | p99 | ITL ms p50 | p99 \
         | TPOT ms p50 | idle % |"
    );
    println!("| ---: | --- |{}", " ---: |".repeat(9));
    for &count in clients {
        for &server in &servers {
            let samples = &table.rates[&(server, count)];
            let rate = median(&samples.output_rate);
            let (low, high) = spread(&samples.output_rate);
            let ratio =
                peer.map_or(f64::NAN, |p| rate / median(&table.rates[&(p, count)].output_rate));
            print!("| {count} | {server} | {rate:.1} | {low:.1}..{high:.1} | {ratio:.2} ");
            print!("| {:.1} | {:.1} ", median(&samples.ttft_ms), p99(&samples.ttft_ms));
            print!("| {:.2} | {:.2} ", median(&samples.gaps_ms), p99(&samples.gaps_ms));
            println!("| {:.2} | {:.1} |", median(&samples.tpot_ms), median(&samples.idle_percent));
        }
    }
    println!(
        "\n| server | ready ms | peak resident MiB | peak / file |\n| --- | ---: | ---: | ---: |"
    );
    for &server in &servers {
        let peak = median(&table.peak_mib[server]);
        println!(
            "| {server} | {:.0} | {peak:.0} | {:.2} |",
            median(&table.ready_ms[server]),
            file_bytes.map_or(f64::NAN, |bytes| peak * f64::from(1 << 20) / bytes as f64)
        );
    }
}

fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let mid = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        even if even.is_multiple_of(2) => f64::midpoint(sorted[mid - 1], sorted[mid]),
        _ => sorted[mid],
    }
}

/// What one in a hundred is above.
fn p99(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let rank = (sorted.len() * 99).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn spread(values: &[f64]) -> (f64, f64) {
    (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(0.0, f64::max))
}
