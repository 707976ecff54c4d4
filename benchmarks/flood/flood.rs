//! One tenant floods, another sends a short request now and then.

use anyhow::{Context, Result};
use simulation::trace::Arrival;
use simulation::{Order, Quantiles, Report, Trace};

use crate::device::Device;
use crate::plot::{Bar, Panel};

const FLOOD: &str = include_str!("../../configs/traces/flood.toml");
const QUIET: &str = "quiet";
const LOUD: &str = "loud";

/// Floods that are played one after the other, so that a p99 is one of hundreds.
const FLOODS: u64 = 20;

/// From one to the next: longer than the slowest device takes.
const APART_US: u64 = 2_000_000_000;

/// The quiet tenant alone, and beside the flood in both orders.
pub(crate) struct Flood {
    alone: Report,
    fair: Report,
    fifo: Report,
}

pub(crate) fn run(device: &Device) -> Result<Flood> {
    let flood = floods()?;
    let mut alone = flood.clone();
    let quiet = flood.tenants.iter().position(|(name, _)| name == QUIET);
    let quiet = quiet.context("the trace has a quiet tenant")? as u32;
    alone.arrivals.retain(|arrival| arrival.tenant == quiet);
    let serve = |trace, order| device.serve(trace, order, device.itl_target_ms);
    Ok(Flood {
        alone: serve(&alone, Order::Fair),
        fair: serve(&flood, Order::Fair),
        fifo: serve(&flood, Order::Fifo),
    })
}

impl Flood {
    fn rows(&self) -> [(&'static str, &Report); 3] {
        [("quiet alone", &self.alone), ("fair", &self.fair), ("FIFO", &self.fifo)]
    }

    pub(crate) fn print(&self, device: &Device) {
        let alone = ttft(&self.alone, QUIET).p99;
        let step = device.itl_target_ms as f64;
        for (order, report) in self.rows() {
            let quiet = ttft(report, QUIET);
            let is_within = if quiet.p99 <= 1.5 * alone + step { "yes" } else { "no" };
            println!(
                "| {} | {order} | {:.1} | {:.1} | {:.2} | {is_within} | {:.0} | {:.1} |",
                device.name,
                quiet.p50,
                quiet.p99,
                quiet.p99 / alone,
                ttft(report, LOUD).p50,
                report.output_tokens as f64 / (report.duration_s * report.busy_share),
            );
        }
    }

    pub(crate) fn panel(&self, device: &Device) -> Panel {
        let bar = |(order, report): (&'static str, &Report)| {
            let Quantiles { p50, p99, .. } = ttft(report, QUIET);
            Bar { label: order, p50_ms: p50, p99_ms: p99 }
        };
        Panel { title: device.name, bars: self.rows().into_iter().map(bar).collect() }
    }
}

/// The same flood again and again, each with other arrivals of the quiet tenant.
fn floods() -> Result<Trace> {
    let mut all = Trace::default();
    for number in 0..FLOODS {
        let spec = FLOOD.replacen("seed = 1", &format!("seed = {number}"), 1);
        let flood = Trace::read(&spec)?;
        // At other moments of the flood's steps each time.
        let shift_us = number * 1_000_000 / FLOODS;
        let later = |arrival: &Arrival| {
            let at_us = arrival.at_us + number * APART_US;
            let shift_us = if arrival.at_us == 0 { 0 } else { shift_us };
            Arrival { at_us: at_us + shift_us, ..*arrival }
        };
        all.arrivals.extend(flood.arrivals.iter().map(later));
        all.tenants = flood.tenants;
    }
    Ok(all)
}

/// Times to first token of a tenant; not a number for one without requests.
fn ttft(report: &Report, name: &str) -> Quantiles {
    let tenant = report.tenants.iter().find(|tenant| tenant.name == name);
    let none = Quantiles { p50: f64::NAN, p90: f64::NAN, p99: f64::NAN };
    tenant.and_then(|tenant| tenant.ttft_ms).unwrap_or(none)
}
