//! Small models of chance: llamas and their neighbours.

use std::path::Path;

use tempfile::TempDir;

use crate::blocks::{self, F32};
use crate::dice::Dice;
use crate::writer::Writer;

pub(crate) const VOCAB: u32 = 300;
pub(crate) const CONTEXT: u32 = 192;
const WIDTH: u64 = 256;
const MLP: u64 = 512;
const EXPERTS: u32 = 6;
/// Width of an expert, and of a shared one.
const EXPERT: u64 = 256;
const WINDOW: u32 = 11;

/// Element types of a model's weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elements {
    pub(crate) embedding: u32,
    /// `None` ties the output to the embedding.
    pub(crate) output: Option<u32>,
    pub(crate) attention: u32,
    /// Of the values alone: fused products may have parts of several types.
    pub(crate) value: u32,
    pub(crate) mlp: u32,
}

impl Elements {
    pub(crate) const fn all(code: u32) -> Self {
        Self { embedding: code, output: None, attention: code, value: code, mlp: code }
    }
}

/// An architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Llama,
    /// Queries see a window.
    Mistral,
    /// Experts in place of each MLP.
    Mixtral,
    /// Biases on queries, keys and values.
    Qwen2,
    /// So, with experts, and one that is shared.
    Qwen2Moe,
    /// Norms of heads, which are larger than an even share of the width.
    Qwen3,
    /// So, with experts.
    Qwen3Moe,
    /// Norms before and after, GELU, and a window in the first of two layers.
    Gemma3,
}

impl Family {
    pub(crate) const ALL: [Self; 8] = [
        Self::Llama,
        Self::Mistral,
        Self::Mixtral,
        Self::Qwen2,
        Self::Qwen2Moe,
        Self::Qwen3,
        Self::Qwen3Moe,
        Self::Gemma3,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Llama | Self::Mistral | Self::Mixtral => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen2Moe => "qwen2moe",
            Self::Qwen3 => "qwen3",
            Self::Qwen3Moe => "qwen3moe",
            Self::Gemma3 => "gemma3",
        }
    }

    const fn head(self) -> u64 {
        if self.has_head_norms() { 128 } else { 64 }
    }

    const fn has_head_norms(self) -> bool {
        matches!(self, Self::Qwen3 | Self::Qwen3Moe | Self::Gemma3)
    }

    const fn has_biases(self) -> bool {
        matches!(self, Self::Qwen2 | Self::Qwen2Moe)
    }

    pub(crate) const fn has_experts(self) -> bool {
        matches!(self, Self::Mixtral | Self::Qwen2Moe | Self::Qwen3Moe)
    }
}

/// A llama.
pub(crate) fn tiny(elements: Elements, seed: u64) -> Writer {
    of(Family::Llama, elements, seed)
}

/// Two layers of four heads, two of them for keys and values.
pub(crate) fn of(family: Family, elements: Elements, seed: u64) -> Writer {
    let mut model = Model { file: metadata(family), dice: Dice::new(seed), family, elements };
    model.weight("token_embd", &[WIDTH, VOCAB.into()], elements.embedding);
    if let Some(code) = elements.output {
        model.weight("output", &[WIDTH, VOCAB.into()], code);
    }
    model.norm("output_norm", WIDTH);
    for layer in 0..2 {
        model.attention(layer);
        if family.has_experts() {
            model.experts(layer);
        } else {
            model.mlp(layer);
        }
    }
    model.file
}

/// Writes a file into a folder that lives as long as the answer.
pub(crate) fn saved(file: &Writer) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder for the model");
    let path = Path::join(folder.path(), "model.gguf");
    std::fs::write(&path, file.finish()).expect("room for the model");
    (folder, path)
}

fn metadata(family: Family) -> Writer {
    let architecture = family.name();
    let mut file = Writer::new();
    file.string("general.architecture", architecture);
    file.string("general.name", "Tiny");
    let sizes = [
        ("vocab_size", VOCAB),
        ("context_length", CONTEXT),
        ("embedding_length", WIDTH as u32),
        ("block_count", 2),
        ("feed_forward_length", if family == Family::Mixtral { EXPERT } else { MLP } as u32),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
    ];
    for (key, value) in [&sizes[..], &own_sizes(family)].concat() {
        file.u32(&format!("{architecture}.{key}"), value);
    }
    file.f32(&format!("{architecture}.attention.layer_norm_rms_epsilon"), 1e-5);
    file
}

/// What not every architecture says.
fn own_sizes(family: Family) -> Vec<(&'static str, u32)> {
    let head = family.head() as u32;
    let heads = [("attention.key_length", head), ("attention.value_length", head)];
    let experts = [("expert_count", EXPERTS), ("expert_used_count", 2)];
    let width = [("expert_feed_forward_length", EXPERT as u32)];
    let shared = [("expert_shared_feed_forward_length", EXPERT as u32)];
    let window = [("attention.sliding_window", WINDOW)];
    let pattern = [("attention.sliding_window_pattern", 2)];
    match family {
        Family::Llama | Family::Qwen2 => Vec::new(),
        Family::Mistral => window.to_vec(),
        // Its experts are as wide as its MLP would be.
        Family::Mixtral => experts.to_vec(),
        Family::Qwen2Moe => [&experts[..], &width, &shared].concat(),
        Family::Qwen3 => heads.to_vec(),
        Family::Qwen3Moe => [&heads[..], &experts, &width].concat(),
        Family::Gemma3 => [&heads[..], &window, &pattern].concat(),
    }
}

/// A model that is being written.
struct Model {
    file: Writer,
    dice: Dice,
    family: Family,
    elements: Elements,
}

impl Model {
    fn attention(&mut self, layer: usize) {
        let (queries, keys) = (4 * self.family.head(), 2 * self.family.head());
        let Elements { attention, value, .. } = self.elements;
        let name = |name: &str| format!("blk.{layer}.{name}");
        self.norm(&name("attn_norm"), WIDTH);
        self.weight(&name("attn_q"), &[WIDTH, queries], attention);
        self.weight(&name("attn_k"), &[WIDTH, keys], attention);
        self.weight(&name("attn_v"), &[WIDTH, keys], value);
        self.weight(&name("attn_output"), &[queries, WIDTH], attention);
        if self.family.has_biases() {
            for (part, length) in [("q", queries), ("k", keys), ("v", keys)] {
                self.vector(&name(&format!("attn_{part}.bias")), length, 0.0);
            }
        }
        if self.family.has_head_norms() {
            self.norm(&name("attn_q_norm"), self.family.head());
            self.norm(&name("attn_k_norm"), self.family.head());
        }
        if self.family == Family::Gemma3 {
            self.norm(&name("post_attention_norm"), WIDTH);
            self.norm(&name("post_ffw_norm"), WIDTH);
        }
        self.norm(&name("ffn_norm"), WIDTH);
    }

    fn mlp(&mut self, layer: usize) {
        let code = self.elements.mlp;
        self.weight(&format!("blk.{layer}.ffn_gate"), &[WIDTH, MLP], code);
        self.weight(&format!("blk.{layer}.ffn_up"), &[WIDTH, MLP], code);
        self.weight(&format!("blk.{layer}.ffn_down"), &[MLP, WIDTH], code);
    }

    fn experts(&mut self, layer: usize) {
        let (code, experts) = (self.elements.mlp, EXPERTS.into());
        let name = |name: &str| format!("blk.{layer}.{name}");
        // Choices far apart, so that a rounding tips few of them.
        self.scaled(&name("ffn_gate_inp"), &[WIDTH, experts], F32, 12.0);
        self.weight(&name("ffn_gate_exps"), &[WIDTH, EXPERT, experts], code);
        self.weight(&name("ffn_up_exps"), &[WIDTH, EXPERT, experts], code);
        self.weight(&name("ffn_down_exps"), &[EXPERT, WIDTH, experts], code);
        if self.family == Family::Qwen2Moe {
            self.vector(&name("ffn_gate_inp_shexp.weight"), WIDTH, 0.0);
            self.weight(&name("ffn_gate_shexp"), &[WIDTH, EXPERT], code);
            self.weight(&name("ffn_up_shexp"), &[WIDTH, EXPERT], code);
            self.weight(&name("ffn_down_shexp"), &[EXPERT, WIDTH], code);
        }
    }

    fn norm(&mut self, name: &str, length: u64) {
        self.vector(&format!("{name}.weight"), length, 1.0);
    }

    /// Numbers around `middle`.
    fn vector(&mut self, name: &str, length: u64, middle: f32) {
        let mut value = || (middle + 0.2 * blocks::uniform(&mut self.dice)).to_le_bytes();
        let values = (0..length).flat_map(|_| value()).collect();
        self.file.tensor(name, &[length], F32, values);
    }

    /// A weight that keeps the size of what it is multiplied with, about.
    fn weight(&mut self, name: &str, sizes: &[u64], code: u32) {
        self.scaled(name, sizes, code, 3.0);
    }

    fn scaled(&mut self, name: &str, sizes: &[u64], code: u32, gain: f32) {
        let reach = gain / (sizes[0] as f32).sqrt();
        let data = blocks::noise(code, sizes.iter().product(), reach, &mut self.dice);
        self.file.tensor(&format!("{name}.weight"), sizes, code, data);
    }
}
