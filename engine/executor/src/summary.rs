//! What a model file holds, for a person to read.

use std::collections::BTreeMap;
use std::fmt;

use engine_cpu::CpuBackend;
use engine_model::spec::Mixture;
use engine_model::{Blueprint, DecoderSpec, TensorInfo};

use crate::kv::block_bytes;
use crate::{Config, ModelFile};

/// A model file at a glance. Print it.
#[derive(Clone, Debug)]
pub struct Summary {
    architecture: Option<String>,
    name: Option<String>,
    format: String,
    parameters: u64,
    weight_bytes: u64,
    /// By the type's name.
    elements: BTreeMap<&'static str, Count>,
    vocabulary: usize,
    context: u32,
    chat_template: bool,
    model: Result<Sizes, String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    tensors: u64,
    bytes: u64,
}

/// What is known of a model that can run.
#[derive(Clone, Debug)]
struct Sizes {
    spec: DecoderSpec,
    ties_output: bool,
    /// Bytes of the cache for one block of [`Config::block_size`] positions.
    block_bytes: u64,
    block_size: u32,
}

impl Summary {
    /// Bytes of all weights as the file has them.
    #[must_use]
    pub const fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    pub(crate) fn new(file: &ModelFile) -> Self {
        let (tensors, metadata) = (file.checkpoint().tensors(), file.metadata());
        let text = |key| metadata.string(key).ok().flatten().map(str::to_owned);
        Self {
            architecture: text("general.architecture"),
            name: text("general.name"),
            format: file.checkpoint().format(),
            parameters: tensors.iter().map(TensorInfo::num_elements).sum(),
            weight_bytes: file.checkpoint().tensor_bytes(),
            elements: count(tensors),
            vocabulary: metadata
                .strings("tokenizer.ggml.tokens")
                .ok()
                .flatten()
                .map_or(0, |all| all.len()),
            context: file.context(),
            chat_template: text("tokenizer.chat_template").is_some(),
            model: file
                .blueprint()
                .map(|blueprint| Sizes::new(&blueprint))
                .map_err(|error| error.to_string()),
        }
    }
}

impl Sizes {
    fn new(blueprint: &Blueprint<'_>) -> Self {
        let spec = blueprint.spec().clone();
        let config = Config::default();
        let block_size = config.block_size;
        let block_bytes = block_bytes::<CpuBackend>(&spec, &config);
        Self { spec, ties_output: blueprint.ties_output(), block_bytes, block_size }
    }

    /// Bytes of the cache for sequences of this many positions each.
    fn cache_bytes(&self, sequences: u64, positions: u64) -> u64 {
        let blocks = sequences.saturating_mul(positions.div_ceil(self.block_size.into()));
        blocks.saturating_mul(self.block_bytes)
    }
}

fn count(tensors: &[TensorInfo]) -> BTreeMap<&'static str, Count> {
    let mut elements = BTreeMap::<_, Count>::new();
    for tensor in tensors {
        let count = elements.entry(tensor.element.name).or_default();
        count.tensors += 1;
        count.bytes += tensor.bytes.len() as u64;
    }
    elements
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &Option<String>| {
            text.as_deref().unwrap_or("not given").escape_debug().to_string()
        };
        line(f, "name", text(&self.name))?;
        line(f, "architecture", text(&self.architecture))?;
        line(f, "format", &self.format)?;
        line(f, "parameters", grouped(self.parameters))?;
        line(f, "context", format_args!("{} tokens", grouped(self.context.into())))?;
        line(f, "vocabulary", format_args!("{} tokens", grouped(self.vocabulary as u64)))?;
        line(f, "chat template", if self.chat_template { "yes" } else { "no" })?;
        line(f, "weights", mebibytes(self.weight_bytes))?;
        for (name, Count { tensors, bytes }) in &self.elements {
            writeln!(f, "  {name:<13} {tensors:>5} tensors, {}", mebibytes(*bytes))?;
        }
        match &self.model {
            Ok(sizes) => sizes.fmt(f),
            Err(reason) => line(f, "cannot run", reason),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DecoderSpec { layers, width, attention, .. } = &self.spec;
        let heads = attention.heads;
        let layers = layers.len();
        if let Some(mlp) = self.spec.dense {
            let mlp = mlp.width;
            line(f, "layers", format_args!("{layers}, {width} wide, feed-forward {mlp} wide"))?;
        }
        if let Some(Mixture { router, expert, .. }) = self.spec.mixture {
            let (experts, chosen, mlp) = (router.experts, router.chosen, expert.width);
            line(
                f,
                "layers",
                format_args!("{layers}, {width} wide, {chosen} of {experts} experts {mlp} wide"),
            )?;
        }
        let engine_backend::Heads { queries, keys_values, dim } = heads;
        line(f, "heads", format_args!("{queries} of {dim}, {keys_values} for keys and values"))?;
        line(
            f,
            "output",
            if self.ties_output { "tied to the embedding" } else { "its own weight" },
        )?;
        let context = self.spec.context as u64;
        for (sequences, positions) in [(1, context), (16, context.min(1024))] {
            let size = mebibytes(self.cache_bytes(sequences, positions));
            let what = if sequences == 1 { "sequence" } else { "sequences" };
            line(f, "cache", format_args!("{size} for {sequences} {what} of {positions} tokens"))?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, label: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{label:<15} {value}")
}

/// 134515008 as 134,515,008.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
