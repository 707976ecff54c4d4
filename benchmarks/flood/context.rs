//! A prompt that fills the context arrives while streams run.

use anyhow::Result;
use simulation::{Order, Quantiles, Report, Trace};

use crate::device::Device;

/// A quarter of a device's rows run.
const SHARE: u32 = 4;

/// The streams, and the prompt.
fn trace(num_streams: u32, prompt: Option<u32>) -> Result<Trace> {
    let stream = |tenant: &str, arrivals: &str, from_s: u32, prompt: u32, output: u32| {
        format!(
            "[[stream]]\ntenant = '{tenant}'\narrivals = {{ kind = 'burst', {arrivals} }}\n\
             from_s = {from_s}\nprompt = {{ kind = 'fixed', tokens = {prompt} }}\n\
             output = {{ kind = 'fixed', tokens = {output} }}\n"
        )
    };
    let streams = stream("streams", &format!("count = {num_streams}"), 0, 32, 2_000);
    let prompt = prompt.map(|prompt| stream("prompt", "count = 1", 5, prompt, 1));
    let spec = format!("duration_s = 600\n{streams}{}", prompt.unwrap_or_default());
    Ok(Trace::read(&spec)?)
}

pub(crate) fn print(device: &Device) -> Result<()> {
    let num_streams = device.rows_max / SHARE;
    let prompt = device.context() - 1;
    let (without, with) = (trace(num_streams, None)?, trace(num_streams, Some(prompt))?);
    let alone = itl(&device.serve(&without, Order::Fair, 0));
    // Just below twice what a step of the streams alone takes.
    let target_ms = (1.9 * alone.p50) as u64;
    let report = device.serve(&with, Order::Fair, target_ms);
    let beside = itl(&report);
    let unbounded = itl(&device.serve(&with, Order::Fair, 0));
    let first = report.tenants.iter().find(|tenant| tenant.name == "prompt");
    let ttft = first.and_then(|tenant| tenant.ttft_ms).map_or(f64::NAN, |ttft| ttft.p50);
    println!(
        "| {} | {num_streams} | {} | {:.1} | {:.1} | {:.2} | {:.1} | {:.1} |",
        device.name,
        device.context(),
        alone.p99,
        beside.p99,
        beside.p99 / alone.p99,
        unbounded.p99,
        ttft / 1e3,
    );
    Ok(())
}

fn itl(report: &Report) -> Quantiles {
    let none = Quantiles { p50: f64::NAN, p90: f64::NAN, p99: f64::NAN };
    report.tenants.first().and_then(|streams| streams.itl_ms).unwrap_or(none)
}
