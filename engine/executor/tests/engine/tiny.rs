//! Small models of chance: llamas and their neighbours.

use std::path::Path;

use half::{bf16, f16};
use tempfile::TempDir;

use crate::dice::Dice;
use crate::writer::Writer;

pub(crate) const VOCAB: u32 = 300;
pub(crate) const CONTEXT: u32 = 192;
const WIDTH: u64 = 256;
const MLP: u64 = 512;

/// ggml's numbers of element types.
pub(crate) const F32: u32 = 0;
pub(crate) const F16: u32 = 1;
pub(crate) const Q4_1: u32 = 3;
pub(crate) const Q8_0: u32 = 8;
pub(crate) const Q6_K: u32 = 14;
pub(crate) const BF16: u32 = 30;

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
    /// Biases on queries, keys and values.
    Qwen2,
    /// Norms of heads, which are larger than an even share of the width.
    Qwen3,
}

impl Family {
    const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    const fn head(self) -> u64 {
        match self {
            Self::Llama | Self::Qwen2 => 64,
            Self::Qwen3 => 128,
        }
    }
}

/// A llama.
pub(crate) fn tiny(elements: Elements, seed: u64) -> Writer {
    of(Family::Llama, elements, seed)
}

/// Two layers of four heads, two of them for keys and values.
pub(crate) fn of(family: Family, elements: Elements, seed: u64) -> Writer {
    let dice = &mut Dice::new(seed);
    let mut file = metadata(family);
    let (queries, keys) = (4 * family.head(), 2 * family.head());
    weight(&mut file, "token_embd.weight", [WIDTH, VOCAB.into()], elements.embedding, dice);
    if let Some(code) = elements.output {
        weight(&mut file, "output.weight", [WIDTH, VOCAB.into()], code, dice);
    }
    norm(&mut file, "output_norm.weight", dice);
    for layer in 0..2 {
        let name = |name: &str| format!("blk.{layer}.{name}.weight");
        norm(&mut file, &name("attn_norm"), dice);
        norm(&mut file, &name("ffn_norm"), dice);
        weight(&mut file, &name("attn_q"), [WIDTH, queries], elements.attention, dice);
        weight(&mut file, &name("attn_k"), [WIDTH, keys], elements.attention, dice);
        weight(&mut file, &name("attn_v"), [WIDTH, keys], elements.value, dice);
        weight(&mut file, &name("attn_output"), [queries, WIDTH], elements.attention, dice);
        weight(&mut file, &name("ffn_gate"), [WIDTH, MLP], elements.mlp, dice);
        weight(&mut file, &name("ffn_up"), [WIDTH, MLP], elements.mlp, dice);
        weight(&mut file, &name("ffn_down"), [MLP, WIDTH], elements.mlp, dice);
        match family {
            Family::Llama => {}
            Family::Qwen2 => {
                for (part, length) in [("q", queries), ("k", keys), ("v", keys)] {
                    vector(&mut file, &format!("blk.{layer}.attn_{part}.bias"), length, 0.0, dice);
                }
            }
            Family::Qwen3 => {
                for part in ["q", "k"] {
                    vector(&mut file, &name(&format!("attn_{part}_norm")), 128, 1.0, dice);
                }
            }
        }
    }
    file
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
    for (key, value) in [
        ("vocab_size", VOCAB),
        ("context_length", CONTEXT),
        ("embedding_length", WIDTH as u32),
        ("block_count", 2),
        ("feed_forward_length", MLP as u32),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
    ] {
        file.u32(&format!("{architecture}.{key}"), value);
    }
    file.f32(&format!("{architecture}.attention.layer_norm_rms_epsilon"), 1e-5);
    if family == Family::Qwen3 {
        file.u32("qwen3.attention.key_length", 128);
        file.u32("qwen3.attention.value_length", 128);
    }
    file
}

fn norm(file: &mut Writer, name: &str, dice: &mut Dice) {
    vector(file, name, WIDTH, 1.0, dice);
}

/// Numbers around `middle`.
fn vector(file: &mut Writer, name: &str, length: u64, middle: f32, dice: &mut Dice) {
    let values = (0..length).flat_map(|_| (middle + 0.2 * uniform(dice)).to_le_bytes()).collect();
    file.tensor(name, &[length], F32, values);
}

/// A weight that keeps the size of what it is multiplied with, about.
fn weight(file: &mut Writer, name: &str, sizes: [u64; 2], code: u32, dice: &mut Dice) {
    let elements = sizes[0] * sizes[1];
    let reach = 3.0 / (sizes[0] as f32).sqrt();
    let mut data = Vec::new();
    match code {
        F32 => (0..elements).for_each(|_| data.extend((reach * uniform(dice)).to_le_bytes())),
        F16 => (0..elements).for_each(|_| data.extend(half_of(reach * uniform(dice)))),
        BF16 => (0..elements)
            .for_each(|_| data.extend(bf16::from_f32(reach * uniform(dice)).to_le_bytes())),
        Q4_1 => (0..elements / 32).for_each(|_| {
            data.extend(half_of(2.0 * reach / 15.0 * (1.0 + 0.5 * uniform(dice))));
            data.extend(half_of(-reach * (1.0 + 0.1 * uniform(dice))));
            noise(&mut data, 16, dice);
        }),
        Q8_0 => (0..elements / 32).for_each(|_| {
            data.extend(half_of(reach / 127.0 * (1.0 + 0.5 * uniform(dice))));
            noise(&mut data, 32, dice);
        }),
        Q6_K => (0..elements / 256).for_each(|_| {
            noise(&mut data, 192 + 16, dice);
            data.extend(half_of(reach / 32.0 / 100.0));
        }),
        other => panic!("no weights of type {other}"),
    }
    file.tensor(name, &sizes, code, data);
}

fn noise(data: &mut Vec<u8>, bytes: usize, dice: &mut Dice) {
    data.extend((0..bytes).map(|_| dice.next() as u8));
}

fn half_of(value: f32) -> [u8; 2] {
    f16::from_f32(value).to_le_bytes()
}

/// From -1 to 1.
fn uniform(dice: &mut Dice) -> f32 {
    (dice.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
}
