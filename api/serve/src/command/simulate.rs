//! `antiphon simulate`: a trace of requests through the scheduler, in virtual time.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use engine_sim::{CostModel, Sizes};
use simulation::{Order, Setting, Slo, Trace};

use crate::cli::Simulate;
use crate::config::compose::{Composed, compose};
use crate::config::{self, Sources};
use crate::terminal;

pub(crate) fn run(options: &Simulate) -> Result<ExitCode> {
    let sources = Sources { file: options.config.clone(), ..Sources::from_environment() };
    let composed = compose(&config::load(&sources)?)?;
    let trace = Trace::read(&read(&options.trace)?);
    let trace = trace.with_context(|| options.trace.display().to_string())?;
    let report = simulation::run(&trace, &setting(&composed, options)?);
    let text = if options.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        report.to_string()
    };
    terminal::write(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn setting(composed: &Composed, options: &Simulate) -> Result<Setting> {
    let engine = &composed.engine;
    let costs = match &engine.costs {
        Some(path) => CostModel::parse(&read(path)?).with_context(|| path.display().to_string())?,
        None => CostModel::cpu(),
    };
    let sizes = Sizes {
        vocab: 1,
        context_max: engine.context_max,
        block_size: engine.block_size,
        kv_bytes_max: engine.kv_bytes_max,
        rows_max: engine.rows_max,
        step_tokens_max: engine.step_tokens_max,
    };
    let limits = composed.runtime.limits(&sizes.info(&costs));
    let micros = |ms: u32| u64::from(ms) * 1_000;
    let slo = Slo { ttft_us: micros(options.slo_ttft_ms), itl_us: micros(options.slo_itl_ms) };
    let order = if options.fifo { Order::Fifo } else { Order::Fair };
    Ok(Setting { limits, costs, order, slo })
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
