//! `antiphon simulate`: a trace of requests through the scheduler, in virtual time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use engine_sim::{CostModel, Sizes};
use runtime::{Tenancy, Tenant, Timeouts, micros};
use simulation::{Order, Served, Setting, Slo, TenantId, Trace};

use crate::cli::Simulate;
use crate::config::compose::{Composed, compose};
use crate::config::{self, Sources};
use crate::terminal;

pub(crate) fn run(options: &Simulate) -> Result<ExitCode> {
    let sources = Sources { file: options.config.clone(), ..Sources::from_environment() };
    let composed = compose(&config::load(&sources)?)?;
    let trace = Trace::read(&read(&options.trace)?);
    let trace = trace.with_context(|| options.trace.display().to_string())?;
    let setting = setting(&composed, options)?;
    if !setting.tenants.is_empty() {
        let mut names = trace.tenants.iter().map(|(name, _)| name);
        if let Some(unknown) = names.find(|name| !setting.tenants.contains_key(*name)) {
            let known: Vec<_> = setting.tenants.keys().map(String::as_str).collect();
            let known = known.join("`, `");
            bail!("the trace has a tenant `{unknown}`, the configuration only `{known}`");
        }
    }
    let report = simulation::run(&trace, &setting);
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
    let us = |ms: u32| u64::from(ms) * 1_000;
    let slo = Slo { ttft_us: us(options.slo_ttft_ms), itl_us: us(options.slo_itl_ms) };
    let order = if options.fifo { Order::Fifo } else { Order::Fair };
    Ok(Setting { limits, costs, order, slo, tenants: tenants(&composed.tenancy) })
}

/// Who is served how. Rates a minute are not simulated.
fn tenants(tenancy: &Tenancy) -> BTreeMap<String, Served> {
    let served = |(id, tenant): (u32, &Tenant)| {
        let Timeouts { queue, whole } = tenant.timeouts;
        let (queue_us, whole_us) = (queue.map(micros), whole.map(micros));
        let served = Served { tenant: tenant.for_core(TenantId(id)), queue_us, whole_us };
        (tenant.name.clone(), served)
    };
    (0..).zip(&tenancy.tenants).map(served).collect()
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
