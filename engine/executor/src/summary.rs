//! What a model is, for a person to read.

use std::collections::BTreeMap;
use std::fmt;

use engine_backend::Heads;
use engine_cpu::CpuBackend;
use engine_model::spec::{GatedMlp, Mixture, Mlp};
use engine_model::{Blueprint, DecoderSpec, Facts, TensorInfo};

use crate::kv::block_bytes;
use crate::{Config, ModelFile};

/// A model at a glance. Print it.
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
    chat_template: Result<bool, String>,
    model: Result<Sizes, String>,
    /// What memory is told for, if not for the usual.
    load: Option<Load>,
}

/// Sequences that are open together.
#[derive(Clone, Copy, Debug)]
struct Load {
    sequences: u64,
    /// Tokens of each.
    tokens: u64,
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
    active_parameters: u64,
    /// Bytes of the cache for one block of [`Config::block_size`] positions.
    block_bytes: u64,
    block_size: u32,
}

impl Summary {
    /// Bytes of all weights as the files have them.
    #[must_use]
    pub const fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    /// The same, with the memory that `sequences` of `tokens` tokens each need; a sequence has no
    /// more tokens than the model takes.
    #[must_use]
    pub fn for_load(self, sequences: u64, tokens: u64) -> Self {
        Self { load: Some(Load { sequences, tokens }), ..self }
    }

    pub(crate) fn new(file: &ModelFile) -> Self {
        let (tensors, facts) = (file.checkpoint().tensors(), file.checkpoint().facts());
        let text = file.text();
        let model = file.blueprint().map(|blueprint| Sizes::new(&blueprint));
        Self {
            architecture: architecture(facts),
            name: file.name(),
            format: file.checkpoint().format(),
            parameters: tensors.iter().map(TensorInfo::num_elements).sum(),
            weight_bytes: file.checkpoint().tensor_bytes(),
            elements: count(tensors),
            vocabulary: vocabulary(facts),
            context: file.context(),
            chat_template: text
                .map(|text| text.chat_template.is_some())
                .map_err(|error| error.to_string()),
            model: model.map_err(|error| error.to_string()),
            load: None,
        }
    }
}

impl Sizes {
    fn new(blueprint: &Blueprint<'_>) -> Self {
        let spec = blueprint.spec().clone();
        let config = Config::default();
        let block_bytes = block_bytes::<CpuBackend>(&spec, &config);
        Self {
            spec,
            ties_output: blueprint.ties_output(),
            active_parameters: blueprint.active_parameters(),
            block_bytes,
            block_size: config.block_size,
        }
    }

    /// Bytes of the cache for sequences of this many positions each.
    fn cache_bytes(&self, sequences: u64, positions: u64) -> u64 {
        let blocks = sequences.saturating_mul(positions.div_ceil(self.block_size.into()));
        blocks.saturating_mul(self.block_bytes)
    }
}

fn architecture(facts: &Facts) -> Option<String> {
    let key = match facts {
        Facts::Gguf(_) => "general.architecture",
        Facts::HuggingFace(_) => "model_type",
    };
    facts.string(key).ok().flatten().map(str::to_owned)
}

fn vocabulary(facts: &Facts) -> usize {
    let listed = match facts {
        Facts::Gguf(metadata) => metadata.strings("tokenizer.ggml.tokens").ok().flatten(),
        Facts::HuggingFace(_) => None,
    };
    let counted = facts.u32("vocab_size").ok().flatten().unwrap_or_default();
    listed.map_or(counted as usize, engine_model::Strings::len)
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
        match &self.model {
            Ok(Sizes { active_parameters, .. }) => {
                let (all, active) = (grouped(self.parameters), grouped(*active_parameters));
                line(f, "parameters", format_args!("{all}, {active} active"))?;
            }
            Err(_) => line(f, "parameters", grouped(self.parameters))?,
        }
        line(f, "context", format_args!("{} tokens", grouped(self.context.into())))?;
        line(f, "vocabulary", format_args!("{} tokens", grouped(self.vocabulary as u64)))?;
        let template = match &self.chat_template {
            Ok(true) => "yes",
            Ok(false) => "no",
            Err(reason) => reason,
        };
        line(f, "chat template", template)?;
        line(f, "weights", mebibytes(self.weight_bytes))?;
        for (name, Count { tensors, bytes }) in &self.elements {
            writeln!(f, "  {name:<13} {tensors:>5} tensors, {}", mebibytes(*bytes))?;
        }
        match &self.model {
            Ok(sizes) => {
                sizes.fmt(f)?;
                self.loads(sizes).into_iter().try_for_each(|load| self.memory(f, sizes, load))
            }
            Err(reason) => line(f, "cannot run", reason),
        }
    }
}

impl Summary {
    fn loads(&self, sizes: &Sizes) -> Vec<Load> {
        let context = sizes.spec.context as u64;
        match self.load {
            Some(load) => vec![Load { tokens: load.tokens.min(context), ..load }],
            None => vec![
                Load { sequences: 1, tokens: context },
                Load { sequences: 16, tokens: context.min(1024) },
            ],
        }
    }

    fn memory(&self, f: &mut fmt::Formatter<'_>, sizes: &Sizes, load: Load) -> fmt::Result {
        let Load { sequences, tokens } = load;
        let cache = sizes.cache_bytes(sequences, tokens);
        let all = mebibytes(self.weight_bytes.saturating_add(cache));
        let what = if sequences == 1 { "sequence" } else { "sequences" };
        let cache = mebibytes(cache);
        line(
            f,
            "memory",
            format_args!("{all} for {sequences} {what} of {tokens} tokens, {cache} of it cache"),
        )
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DecoderSpec { layers, width, attention, dense, mixture, .. } = &self.spec;
        line(f, "layers", format_args!("{}, {width} wide", layers.len()))?;
        let Heads { queries, keys_values, dim } = attention.heads;
        line(f, "heads", format_args!("{queries} of {dim}, {keys_values} for keys and values"))?;
        if let Some(window) = layers.iter().find_map(|layer| layer.window) {
            let layers = layers.iter().filter(|layer| layer.window.is_some()).count();
            line(f, "window", format_args!("{window} tokens in {layers} layers"))?;
        }
        if let Some(GatedMlp { width, .. }) = dense {
            let layers = layers.iter().filter(|layer| layer.mlp == Mlp::Dense).count();
            line(f, "feed-forward", format_args!("{width} wide in {layers} layers"))?;
        }
        if let Some(mixture) = mixture {
            line(f, "experts", experts(mixture))?;
        }
        let output = if self.ties_output { "tied to the embedding" } else { "its own weight" };
        line(f, "output", output)
    }
}

fn experts(Mixture { router, expert, shared }: &Mixture) -> String {
    let shared = shared.map(|shared| format!(", one for all {} wide", shared.width));
    let (chosen, all, width) = (router.chosen, router.experts, expert.width);
    format!("{chosen} of {all}, each {width} wide{}", shared.unwrap_or_default())
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
