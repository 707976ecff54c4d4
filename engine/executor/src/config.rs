//! What an engine is built with.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use engine_backend::DType;
use engine_cpu::ActivationType;
use engine_cuda::WeightType;
use engine_sim::Speed;

/// Settings of an engine; they hold for its whole life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where steps run.
    pub device: Device,
    /// How many GPUs compute together; 0 is all that there are. For GPUs alone.
    pub gpus: u32,
    /// Threads that compute; 0 is one for each processor. For the CPU alone.
    pub threads: usize,
    /// Positions in a cache block.
    pub block_size: u32,
    /// How inputs meet quantised weights. For the CPU alone.
    pub activation_type: ActivationType,
    /// How keys and values are kept.
    pub kv_type: KvType,
    /// What plain weights become. For GPUs alone.
    pub weight_type: WeightType,
    /// Most bytes that the cache of keys and values may take, on each GPU; 0 is what the model
    /// leaves of a
    /// GPU's memory, but for a tenth of that, and 1 GiB on the CPU.
    pub kv_bytes_max: u64,
    /// Most rows in a step.
    pub rows_max: u32,
    /// Most positions in a step, over all rows.
    pub step_tokens_max: u32,
    /// Most positions of one sequence; 0 is as many as the model takes.
    pub context_max: u32,
    /// The file of what steps take; none: the demo model on two cores. For the simulation alone.
    pub costs: Option<PathBuf>,
    /// Whether steps take that time. For the simulation alone.
    pub sim_speed: Speed,
}

/// Where steps run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The best that is there.
    #[default]
    Auto,
    /// This machine's processors.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
    /// Nothing runs; tokens are made up after the time that a step would take.
    Sim,
}

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// In half precision.
    #[default]
    F16,
    /// In single precision, as they were computed.
    F32,
}

/// A setting out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {found}, expected {expected}")]
pub struct ConfigError {
    /// The setting's name.
    pub key: &'static str,
    /// Its value.
    pub found: String,
    /// What would be right.
    pub expected: String,
}

/// More than a machine has.
const GPUS: RangeInclusive<u64> = 0..=64;
const THREADS: RangeInclusive<u64> = 0..=1024;
const BLOCK_SIZES: RangeInclusive<u64> = 1..=1024;
const ROWS: RangeInclusive<u64> = 1..=4096;
const STEP_TOKENS_MAX: u64 = 65_536;

impl Default for Config {
    fn default() -> Self {
        Self {
            device: Device::Auto,
            gpus: 1,
            threads: 0,
            block_size: 16,
            activation_type: ActivationType::Int8,
            kv_type: KvType::F16,
            weight_type: WeightType::Auto,
            kv_bytes_max: 0,
            rows_max: 64,
            step_tokens_max: 512,
            context_max: 0,
            costs: None,
            sim_speed: Speed::Real,
        }
    }
}

impl Config {
    /// Checks every setting that can be checked without a model.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check("gpus", self.gpus.into(), GPUS)?;
        self.check_gpus()?;
        check("threads", self.threads as u64, THREADS)?;
        check("block_size", self.block_size.into(), BLOCK_SIZES)?;
        check("rows_max", self.rows_max.into(), ROWS)?;
        // Every row of a step has at least one position.
        let step_tokens = u64::from(self.rows_max)..=STEP_TOKENS_MAX;
        check("step_tokens_max", self.step_tokens_max.into(), step_tokens)?;
        self.check_weight_type()
    }

    fn check_weight_type(&self) -> Result<(), ConfigError> {
        match (self.weight_type, self.device) {
            (WeightType::Fp8, Device::Cpu) => Err(ConfigError {
                key: "weight_type",
                found: "fp8".to_owned(),
                expected: "auto, or a device that is a GPU".to_owned(),
            }),
            (WeightType::Auto, _) | (_, Device::Auto | Device::Cuda | Device::Sim) => Ok(()),
        }
    }

    fn check_gpus(&self) -> Result<(), ConfigError> {
        match self.device {
            Device::Cpu | Device::Sim if self.gpus != 1 => Err(ConfigError {
                key: "gpus",
                found: self.gpus.to_string(),
                expected: format!("1, since device is `{}`", self.device),
            }),
            Device::Auto | Device::Cpu | Device::Cuda | Device::Sim => Ok(()),
        }
    }
}

impl KvType {
    /// The type to a backend.
    pub(crate) const fn dtype(self) -> DType {
        match self {
            Self::F16 => DType::F16,
            Self::F32 => DType::F32,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Sim => "sim",
        })
    }
}

fn check(key: &'static str, found: u64, range: RangeInclusive<u64>) -> Result<(), ConfigError> {
    if range.contains(&found) {
        return Ok(());
    }
    let (least, most) = range.into_inner();
    Err(ConfigError { key, found: found.to_string(), expected: format!("{least} to {most}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn what_is_out_of_range_is_named_with_its_range() {
        let refused = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert_eq!(refused(|config| config.block_size = 0), "block_size is 0, expected 1 to 1024");
        assert_eq!(refused(|config| config.rows_max = 0), "rows_max is 0, expected 1 to 4096");
        assert_eq!(
            refused(|config| config.step_tokens_max = 63),
            "step_tokens_max is 63, expected 64 to 65536"
        );
        assert_eq!(
            refused(|config| {
                config.weight_type = WeightType::Fp8;
                config.device = Device::Cpu;
            }),
            "weight_type is fp8, expected auto, or a device that is a GPU"
        );
        assert_eq!(refused(|config| config.gpus = 65), "gpus is 65, expected 0 to 64");
        assert_eq!(
            refused(|config| (config.device, config.gpus) = (Device::Cpu, 2)),
            "gpus is 2, expected 1, since device is `cpu`"
        );
        assert_eq!(refused(|config| config.threads = 2000), "threads is 2000, expected 0 to 1024");
    }
}
