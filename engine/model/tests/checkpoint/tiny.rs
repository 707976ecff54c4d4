//! The tensors of a tiny Qwen3, and the files that they are written to.

use std::path::Path;

use engine_model::{Blueprint, Checkpoint};
use serde_json::{Value, json};

/// A tensor: its name, its type, its sizes outermost first, its bytes.
#[derive(Clone)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) dtype: &'static str,
    pub(crate) shape: Vec<u64>,
    pub(crate) data: Vec<u8>,
}

/// 64 wide, two layers, four heads of 16, two of them for keys and values.
pub(crate) fn config() -> Value {
    json!({
        "model_type": "qwen3",
        "vocab_size": 40,
        "max_position_embeddings": 128,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "intermediate_size": 96,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000,
        "hidden_act": "silu",
        "tie_word_embeddings": true,
        "sliding_window": null,
    })
}

/// Every tensor of it. Each is filled with a byte of its own.
pub(crate) fn tensors() -> Vec<Listed> {
    let mut all = Vec::new();
    let mut add = |name: String, shape: &[u64]| {
        let elements: u64 = shape.iter().product();
        let (dtype, width) = [("F32", 4), ("F16", 2), ("BF16", 2)][all.len() % 3];
        let data = vec![all.len() as u8; (elements * width) as usize];
        all.push(Listed { name, dtype, shape: shape.to_vec(), data });
    };
    add("model.embed_tokens.weight".to_owned(), &[40, 64]);
    add("model.norm.weight".to_owned(), &[64]);
    for layer in 0..2 {
        let mut add = |name: &str, shape: &[u64]| {
            add(format!("model.layers.{layer}.{name}.weight"), shape);
        };
        add("input_layernorm", &[64]);
        add("self_attn.q_proj", &[64, 64]);
        add("self_attn.k_proj", &[32, 64]);
        add("self_attn.v_proj", &[32, 64]);
        add("self_attn.q_norm", &[16]);
        add("self_attn.k_norm", &[16]);
        add("self_attn.o_proj", &[64, 64]);
        add("post_attention_layernorm", &[64]);
        add("mlp.gate_proj", &[96, 64]);
        add("mlp.up_proj", &[96, 64]);
        add("mlp.down_proj", &[64, 96]);
    }
    all
}

/// A safetensors file with these tensors one after the other.
pub(crate) fn safetensors(tensors: &[Listed]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut data = Vec::new();
    for Listed { name, dtype, shape, data: bytes } in tensors {
        let begin = data.len();
        data.extend(bytes);
        let offsets = [begin, data.len()];
        let listed = json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
        header.insert(name.clone(), listed);
    }
    framed(&Value::Object(header).to_string(), &data)
}

/// A safetensors file with this header and this data.
pub(crate) fn framed(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// An index of shards.
pub(crate) fn index(shards: &[(&str, &[Listed])]) -> Value {
    let map: serde_json::Map<_, _> = shards
        .iter()
        .flat_map(|(file, tensors)| {
            tensors.iter().map(move |tensor| (tensor.name.clone(), json!(file)))
        })
        .collect();
    json!({"metadata": {"total_size": 1}, "weight_map": map})
}

pub(crate) fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), bytes).expect("room for the file");
}

/// Opens a checkpoint, and reads its model.
pub(crate) fn read(path: &Path) -> Result<Checkpoint, String> {
    let checkpoint = Checkpoint::open(path).map_err(|error| error.to_string())?;
    Blueprint::read(&checkpoint).map_err(|error| error.to_string())?;
    Ok(checkpoint)
}
