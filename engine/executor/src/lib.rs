//! The engine: runs steps of a model on a device.
//!
//! [`ModelFile`] opens a file and says what is in it; [`load`] makes an
//! [`engine_contract::Executor`] of it, on the device that the [`Config`] names. Beneath are
//! `engine-model`, which knows what the numbers mean, and a backend, which computes.
//!
//! No request and no actor is known here. Steps are launched from one thread, the one that called
//! [`load`]; their tickets may be waited for on another.

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

use engine_contract::Executor;
pub use engine_cpu::ActivationType;
use engine_cpu::CpuBackend;
use engine_cuda::CudaBackend;

/// Builds the engine that runs a file's model, on the thread that will own it.
///
/// # Errors
/// The model cannot run, the device is not there, a setting is out of range, or memory is short.
pub fn load(file: &ModelFile, config: &Config) -> Result<Box<dyn Executor>, LoadError> {
    match config.device {
        // The GPU keeps keys and values as halves alone.
        Device::Auto if config.kv_type == KvType::F16 => match CudaBackend::new() {
            Ok(backend) => Ok(Box::new(BackendExecutor::new(backend, file, config)?)),
            Err(_) => on_cpu(file, config),
        },
        Device::Auto | Device::Cpu => on_cpu(file, config),
        Device::Cuda => {
            let backend = CudaBackend::new()?;
            Ok(Box::new(BackendExecutor::new(backend, file, config)?))
        }
        Device::Sim => Err(LoadError::Device { device: config.device, engine: "simulated" }),
    }
}

fn on_cpu(file: &ModelFile, config: &Config) -> Result<Box<dyn Executor>, LoadError> {
    let backend = CpuBackend::new(config.threads).with_activations(config.activation_type);
    Ok(Box::new(BackendExecutor::new(backend, file, config)?))
}
