//! The engine: runs steps of a model on a device.
//!
//! [`ModelFile`] opens a file and says what is in it; [`load`] makes an
//! [`engine_contract::Executor`] of it, on the device that the [`Config`] names. Beneath are
//! `engine-model`, which knows what the numbers mean, and a backend, which computes; or
//! `engine-sim`, which does not.
//!
//! No request and no actor is known here. Steps are launched from one thread, the one that called
//! [`load`]; their tickets may be waited for on another. Of several GPUs each has a thread of its
//! own.

mod budget;
mod config;
mod error;
mod executor;
mod file;
mod gpus;
mod kv;
mod ranks;
mod seats;
mod simulated;
mod stage;
mod summary;
mod text;
mod ticket;

pub use config::{Config, ConfigError, Device, KvType};
pub use error::LoadError;
pub use executor::BackendExecutor;
pub use file::ModelFile;
pub use ranks::{RankedExecutor, Ranks};
pub use summary::Summary;
pub use text::{SamplingDefaults, TextAssets, TokenizerAssets, TokenizerFile, VocabularyAssets};

use std::time::{Duration, Instant};

use engine_contract::Executor;
pub use engine_cpu::ActivationType;
use engine_cpu::CpuBackend;
use engine_cuda::CudaBackend;
pub use engine_cuda::WeightType;
pub use engine_sim::{CostModel, Speed};

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
        // Who asks for several does not want the CPU instead.
        Device::Auto if config.gpus > 1 => on_gpus(begun, file, config),
        Device::Auto => match gpu(config) {
            Ok(one) if config.gpus == 0 => {
                drop(one);
                on_gpus(begun, file, config)
            }
            Ok(backend) => gpus::on_one(backend, begun, file, config),
            Err(reason) if config.weight_type == WeightType::Fp8 => {
                Err(LoadError::WeightType { reason })
            }
            Err(reason) => Ok(Loaded { no_gpu: Some(reason), ..on_cpu(file, config)? }),
        },
        Device::Cpu => on_cpu(file, config),
        Device::Cuda => on_gpus(begun, file, config),
        Device::Sim => simulated::build(begun, file, config),
    }
}

/// A GPU that can do what is asked for, or why there is none.
fn gpu(config: &Config) -> Result<CudaBackend, String> {
    match config.kv_type {
        KvType::F16 => CudaBackend::new().map_err(|error| error.to_string()),
        KvType::F32 => Err("GPUs keep keys and values as halves, and kv_type is f32".to_owned()),
    }
}

fn on_gpus(begun: Instant, file: &ModelFile, config: &Config) -> Result<Loaded, LoadError> {
    match gpus::number(config)? {
        1 => gpus::on_one(CudaBackend::new()?, begun, file, config),
        several => gpus::on_several(several, begun, file, config),
    }
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
