//! The engine: runs steps of a model on a device.
//!
//! [`ModelFile`] opens a file and says what is in it; [`load`] makes an
//! [`engine_contract::Executor`] of it, on the device that the [`Config`] names. Beneath are
//! `engine-model`, which knows what the numbers mean, and a backend, which computes.
//!
//! No request and no actor is known here. Steps are launched from one thread, the one that called
//! [`load`]; their tickets may be waited for on another.

mod budget;
mod config;
mod error;
mod executor;
mod file;
mod kv;
mod seats;
mod stage;
mod summary;
mod text;
mod ticket;

pub use config::{Config, ConfigError, Device, KvType};
pub use error::LoadError;
pub use executor::BackendExecutor;
pub use file::ModelFile;
pub use summary::Summary;
pub use text::{SamplingDefaults, TextAssets, TokenizerAssets, TokenizerFile, VocabularyAssets};

use std::time::{Duration, Instant};

use engine_contract::Executor;
pub use engine_cpu::ActivationType;
use engine_cpu::CpuBackend;
pub use engine_cuda::WeightType;
use engine_cuda::{CudaBackend, Format};

/// An engine, and what it runs on.
pub struct Loaded {
    /// Runs steps.
    pub executor: Box<dyn Executor>,
    /// What computes, in words.
    pub device: String,
    /// What weights are kept in, and how much of it, in words.
    pub weights: String,
    /// Why [`Device::Auto`] left GPUs aside, in words, if it did.
    pub no_gpu: Option<String>,
    /// How long it took to open the device.
    pub opening: Duration,
}

/// Builds the engine that runs a file's model, on the thread that will own it.
///
/// # Errors
/// The model cannot run, the device is not there, a setting is out of range, or memory is short.
pub fn load(file: &ModelFile, config: &Config) -> Result<Loaded, LoadError> {
    let begun = Instant::now();
    match config.device {
        Device::Auto => match gpu(config) {
            Ok(backend) => on_gpu(backend, begun, file, config),
            Err(reason) if config.weight_type == WeightType::Fp8 => {
                Err(LoadError::WeightType { reason })
            }
            Err(reason) => Ok(Loaded { no_gpu: Some(reason), ..on_cpu(file, config)? }),
        },
        Device::Cpu => on_cpu(file, config),
        Device::Cuda => on_gpu(CudaBackend::new()?, begun, file, config),
        Device::Sim => Err(LoadError::Device { device: config.device, engine: "simulated" }),
    }
}

/// A GPU that can do what is asked for, or why there is none.
fn gpu(config: &Config) -> Result<CudaBackend, String> {
    match config.kv_type {
        KvType::F16 => CudaBackend::new().map_err(|error| error.to_string()),
        KvType::F32 => Err("GPUs keep keys and values as halves, and kv_type is f32".to_owned()),
    }
}

fn on_gpu(
    backend: CudaBackend,
    begun: Instant,
    file: &ModelFile,
    config: &Config,
) -> Result<Loaded, LoadError> {
    let (device, opening) = (backend.info().to_string(), begun.elapsed());
    let backend = backend.with_weights(config.weight_type);
    let executor = Box::new(BackendExecutor::new(backend, file, config)?);
    let weights = kept(executor.backend(), config.weight_type);
    Ok(Loaded { executor, device, weights, no_gpu: None, opening })
}

/// What a GPU keeps weights in.
fn kept(backend: &CudaBackend, asked: WeightType) -> String {
    let part = |(format, bytes)| format!("{format} {:.2} GB", bytes as f64 / 1e9);
    let words = backend.weights().map(part).collect::<Vec<_>>().join(", ");
    let rounded = backend.weights().any(|(format, _)| format == Format::Fp8);
    if asked == WeightType::Fp8 && !rounded {
        return format!("{words}; none in fp8, since quantised weights stay as they are");
    }
    words
}

fn on_cpu(file: &ModelFile, config: &Config) -> Result<Loaded, LoadError> {
    let begun = Instant::now();
    let backend = CpuBackend::new(config.threads).with_activations(config.activation_type);
    let opening = begun.elapsed();
    let device = format!("CPU, {}, threads: {}", engine_cpu::isa(), backend.threads());
    let executor = Box::new(BackendExecutor::new(backend, file, config)?);
    let weights = "as in the file".to_owned();
    Ok(Loaded { executor, device, weights, no_gpu: None, opening })
}
