//! Each crate's own configuration, made from the one tree.

use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::{Context, Result};
use runtime::{KeyHash, Rates, Tenancy, Tenant, Timeouts};

use super::tenants::{self, Hash};
use super::{ActivationType, Config, Device, Failure, KvType, Scheduler, SimSpeed, WeightType};

/// What the crates below are started with.
pub(crate) struct Composed {
    pub(crate) engine: engine::Config,
    pub(crate) runtime: runtime::Config,
    pub(crate) api: api::Config,
    pub(crate) tenancy: Tenancy,
}

/// Hands every setting to the crate that it is for.
///
/// # Errors
/// A crate finds values that do not go together.
pub(crate) fn compose(config: &Config) -> Result<Composed> {
    let Config { model: _, engine, scheduler, text, http, log: _, tenants } = config;
    let composed = Composed {
        engine: engine::Config {
            device: device(engine.device),
            gpus: engine.gpus,
            threads: engine.threads as usize,
            block_size: engine.block_size,
            activation_type: activation_type(engine.activation_type),
            kv_type: kv_type(engine.kv_type),
            weight_type: weight_type(engine.weight_type),
            kv_bytes_max: engine.kv_bytes_max,
            rows_max: engine.rows_max,
            step_tokens_max: engine.step_tokens_max,
            context_max: engine.context_max,
            costs: (!engine.costs.is_empty()).then(|| engine.costs.clone().into()),
            sim_speed: sim_speed(engine.sim_speed),
        },
        runtime: runtime::Config {
            pipeline_depth: scheduler.pipeline_depth,
            step_tokens_max: engine.step_tokens_max,
            rows_max: engine.rows_max,
            waiting_max: scheduler.waiting_max,
            waiting_tokens_max: scheduler.waiting_tokens_max,
            itl_target_ms: scheduler.itl_target_ms,
            step_timeout_ms: scheduler.step_timeout_ms,
            stall_timeout_ms: scheduler.stall_timeout_ms,
            drain_timeout_ms: scheduler.drain_timeout_ms,
            ageing_ms: scheduler.ageing_ms,
            prefix_cache: scheduler.prefix_cache,
            encode_threads: text.encode_threads as usize,
            encode_inline_bytes_max: text.encode_inline_bytes_max as usize,
            failure: failure(engine.failure),
        },
        api: api::Config {
            host: http.host.clone(),
            port: http.port,
            workers: http.workers as usize,
            body_bytes_max: http.body_bytes_max as usize,
            body_timeout_ms: http.body_timeout_ms,
            head_timeout_ms: http.head_timeout_ms,
            idle_timeout_ms: http.idle_timeout_ms,
            keep_alive_ms: http.keep_alive_ms,
            ..api::Config::default()
        },
        tenancy: Tenancy {
            tenants: tenants.iter().map(|one| tenant(one, queue_of(config))).collect(),
            admin_key_hashes: hashes(&http.admin_key_hashes),
        },
    };
    composed.engine.validate().context("the settings of `engine` do not go together")?;
    composed.runtime.validate().context("the settings of `scheduler` do not go together")?;
    composed.api.validate().context("the settings of `http` do not go together")?;
    composed.tenancy.check().context("the tenants cannot be served")?;
    Ok(composed)
}

fn hashes(hashes: &[Hash]) -> Vec<KeyHash> {
    hashes.iter().map(|hash| hash.0).collect()
}

/// What one of several tenants may have of the queue, requests and prompt tokens, unless it is
/// said: half, so that none can keep all the others out.
fn queue_of(config: &Config) -> (u32, u64) {
    let Scheduler { waiting_max, waiting_tokens_max, .. } = config.scheduler;
    match config.tenants.len() {
        0 | 1 => (waiting_max, waiting_tokens_max),
        _ => (waiting_max.div_ceil(2), waiting_tokens_max.div_ceil(2)),
    }
}

fn tenant(config: &tenants::Tenant, (waiting_max, waiting_tokens_max): (u32, u64)) -> Tenant {
    let tenants::Tenant { name, key_hashes, anonymous, models, .. } = config;
    let tenants::Tenant { weight, priority_max, kv_per_mille, limits, .. } = config;
    let milliseconds = |timeout: Option<u64>| timeout.map(Duration::from_millis);
    let rate = |rate: Option<u64>| rate.and_then(NonZeroU64::new);
    let unbounded = Tenant::unbounded(name);
    Tenant {
        key_hashes: hashes(key_hashes),
        anonymous: *anonymous,
        models: models.clone(),
        weight: *weight,
        priority_max: *priority_max,
        kv_per_mille: *kv_per_mille,
        running_max: limits.running_max.unwrap_or(unbounded.running_max),
        waiting_max: limits.waiting_max.unwrap_or(waiting_max),
        waiting_tokens_max: limits.waiting_tokens_max.unwrap_or(waiting_tokens_max),
        rates: Rates {
            requests_per_minute: rate(limits.requests_per_minute),
            tokens_per_minute: rate(limits.tokens_per_minute),
        },
        timeouts: Timeouts {
            queue: milliseconds(limits.queue_timeout_ms),
            whole: milliseconds(limits.timeout_ms),
        },
        ..unbounded
    }
}

fn device(device: Device) -> engine::Device {
    match device {
        Device::Auto => engine::Device::Auto,
        Device::Cpu => engine::Device::Cpu,
        Device::Cuda => engine::Device::Cuda,
        Device::Sim => engine::Device::Sim,
    }
}

fn activation_type(activation_type: ActivationType) -> engine::ActivationType {
    match activation_type {
        ActivationType::Int8 => engine::ActivationType::Int8,
        ActivationType::Int16 => engine::ActivationType::Int16,
    }
}

fn kv_type(kv_type: KvType) -> engine::KvType {
    match kv_type {
        KvType::F16 => engine::KvType::F16,
        KvType::F32 => engine::KvType::F32,
    }
}

fn weight_type(weight_type: WeightType) -> engine::WeightType {
    match weight_type {
        WeightType::Auto => engine::WeightType::Auto,
        WeightType::Fp8 => engine::WeightType::Fp8,
    }
}

fn sim_speed(speed: SimSpeed) -> engine::Speed {
    match speed {
        SimSpeed::Real => engine::Speed::Real,
        SimSpeed::Unbounded => engine::Speed::Unbounded,
    }
}

fn failure(failure: Failure) -> runtime::FailurePolicy {
    match failure {
        Failure::Exit => runtime::FailurePolicy::Exit,
        Failure::Restart => runtime::FailurePolicy::Restart,
    }
}
