//! The configuration: one tree of plain structs, its defaults, and the layers it is read from.
//!
//! [`load()`] is the only way in, and what it returns cannot be out of range. Nothing reads the
//! environment or a file for a setting later, except a reload that goes through [`load()`] again.
//! The crates below own their configuration; [`compose`] is the one function that makes theirs from
//! this. `configs/default.toml` documents every key.

pub(crate) mod compose;
mod keys;
mod layer;
mod load;
mod range;
pub(crate) mod tenants;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub(crate) use layer::{Origin, Setting, flatten};
pub(crate) use load::{Sources, load};

use self::tenants::{Hash, Tenant};
use crate::source::DEMO;

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Which model is served, and under which name.
    pub(crate) model: Model,
    /// Where and how steps are computed.
    pub(crate) engine: Engine,
    /// Who runs next, and how long anything may take.
    pub(crate) scheduler: Scheduler,
    /// Turning text into tokens.
    pub(crate) text: Text,
    /// The HTTP edge.
    pub(crate) http: Http,
    /// What is written to standard error.
    pub(crate) log: Log,
    /// Who is served; empty: everybody. Read apart from the sections, see [`tenants`].
    #[serde(skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tenants: Vec<Tenant>,
}

/// Which model is served, and under which name.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Model {
    /// Where the model is: a path, `hf:...` or `pypi:...`.
    pub(crate) source: String,
    /// The name that clients use; empty: that of the model's file or folder.
    pub(crate) id: String,
}

/// Where and how steps are computed.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Engine {
    pub(crate) device: Device,
    /// How many GPUs compute together; 0: all.
    pub(crate) gpus: u32,
    /// Compute threads; 0: one for each core.
    pub(crate) threads: u32,
    /// Positions in a cache block.
    pub(crate) block_size: u32,
    /// How inputs meet quantised weights.
    pub(crate) activation_type: ActivationType,
    /// How keys and values are kept.
    pub(crate) kv_type: KvType,
    /// How a GPU keeps weights.
    pub(crate) weight_type: WeightType,
    /// Bytes of the key and value cache; 0: what a GPU has left, or 1 GiB on the CPU.
    pub(crate) kv_bytes_max: u64,
    /// Most sequences in a step.
    pub(crate) rows_max: u32,
    /// Most positions in a step.
    pub(crate) step_tokens_max: u32,
    /// Most positions of a sequence; 0: as many as the model was made for.
    pub(crate) context_max: u32,
    /// Of a simulated engine, the file of what steps take; empty: the demo model on two cores.
    pub(crate) costs: String,
    pub(crate) sim_speed: SimSpeed,
    pub(crate) failure: Failure,
}

/// The device that computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Device {
    Auto,
    Cpu,
    Cuda,
    Sim,
}

/// How inputs meet quantised weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ActivationType {
    Int8,
    Int16,
}

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KvType {
    F16,
    F32,
}

/// How a GPU keeps weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WeightType {
    Auto,
    Fp8,
}

/// Whether the steps of a simulated engine take time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SimSpeed {
    Real,
    Unbounded,
}

/// What follows when the engine fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Failure {
    /// Every open request is answered, then the process ends with code 70.
    Exit,
    /// A new engine is built, and serves on.
    Restart,
}

/// Who runs next, and how long anything may take.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Scheduler {
    /// Steps planned and not completed.
    pub(crate) pipeline_depth: u32,
    /// Most requests waiting.
    pub(crate) waiting_max: u32,
    /// Most prompt tokens waiting, over all requests.
    pub(crate) waiting_tokens_max: u64,
    /// What a step may take while streams run; 0: as long as it likes.
    pub(crate) itl_target_ms: u64,
    /// Longest that a step may take before the engine counts as failed.
    pub(crate) step_timeout_ms: u64,
    /// Longest that a client may take nothing before its request is cancelled.
    pub(crate) stall_timeout_ms: u64,
    /// Longest that open requests may run on after a signal to stop.
    pub(crate) drain_timeout_ms: u64,
    /// How much longer a request must have waited to stand in front of a more urgent one.
    pub(crate) ageing_ms: u64,
    /// Whether prompts that begin alike share their cache blocks.
    pub(crate) prefix_cache: bool,
}

/// Turning text into tokens.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Text {
    /// Threads that encode long prompts.
    pub(crate) encode_threads: u32,
    /// Prompts up to this size are encoded where they arrive.
    pub(crate) encode_inline_bytes_max: u64,
}

/// The HTTP edge.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Http {
    pub(crate) host: String,
    /// 0: any free port.
    pub(crate) port: u16,
    /// Whether everybody may be served who can reach the address, where there are no tenants.
    pub(crate) allow_open: bool,
    /// Whose keys open what is for those who run the server.
    pub(crate) admin_key_hashes: Vec<Hash>,
    /// Worker threads; 0: one for each core.
    pub(crate) workers: u32,
    pub(crate) body_bytes_max: u64,
    /// Longest that a request's body may take to arrive.
    pub(crate) body_timeout_ms: u64,
    /// Longest that a request's head may take to arrive.
    pub(crate) head_timeout_ms: u64,
    /// Longest that a connection is kept between requests.
    pub(crate) idle_timeout_ms: u64,
    /// Silence after which a stream gets a comment line.
    pub(crate) keep_alive_ms: u64,
}

/// What is written down.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    pub(crate) level: Level,
    pub(crate) format: Format,
    /// A file for a line about each request that ended; empty: none.
    pub(crate) usage: String,
}

/// The least important line that is still written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Json,
    Text,
}

impl Default for Model {
    fn default() -> Self {
        Self { source: DEMO.to_owned(), id: String::new() }
    }
}

impl Default for Engine {
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
            costs: String::new(),
            sim_speed: SimSpeed::Real,
            failure: Failure::Restart,
        }
    }
}

impl Default for Scheduler {
    fn default() -> Self {
        Self {
            pipeline_depth: 2,
            waiting_max: 256,
            waiting_tokens_max: 1 << 18,
            itl_target_ms: 50,
            step_timeout_ms: 60_000,
            stall_timeout_ms: 30_000,
            drain_timeout_ms: 30_000,
            ageing_ms: 1_000,
            prefix_cache: true,
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self { encode_threads: 1, encode_inline_bytes_max: 4 << 10 }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8080,
            allow_open: false,
            admin_key_hashes: Vec::new(),
            workers: 0,
            body_bytes_max: 2 << 20,
            body_timeout_ms: 30_000,
            head_timeout_ms: 5_000,
            idle_timeout_ms: 75_000,
            keep_alive_ms: 15_000,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::Info, format: Format::Text, usage: String::new() }
    }
}

impl Config {
    /// The tree as TOML values: every key is there, since none is optional.
    pub(crate) fn to_table(&self) -> toml::Table {
        toml::Table::try_from(self).expect("plain structs of strings, numbers and booleans")
    }
}
