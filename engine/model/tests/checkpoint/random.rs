//! Checkpoints of random weights.

use engine_model::{Blueprint, Checkpoint, ElementType};
use serde_json::{Value, json};

use crate::tiny::{config, tensors, write};

fn random(config: &Value, element: &str, seed: u64) -> Result<Checkpoint, String> {
    let folder = tempfile::tempdir().expect("a folder for the files");
    write(folder.path(), "any name.json", config.to_string());
    let element = ElementType::named(element).expect("a type");
    Checkpoint::random(&folder.path().join("any name.json"), element, seed)
        .map_err(|error| error.to_string())
}

fn bytes(checkpoint: &Checkpoint, name: &str) -> Vec<u8> {
    let tensor =
        checkpoint.tensors().iter().find(|tensor| tensor.name == name).expect("it is there");
    checkpoint.bytes(tensor).expect("it is there").to_vec()
}

#[test]
fn it_has_the_tensors_that_the_config_asks_for() {
    let checkpoint = random(&config(), "Q8_0", 7).unwrap();
    assert_eq!(checkpoint.format(), "random Q8_0, seed 7");
    Blueprint::read(&checkpoint).unwrap();
    let mut found: Vec<_> = checkpoint
        .tensors()
        .iter()
        .map(|t| (t.name.clone(), t.dimensions.iter().rev().copied().collect::<Vec<_>>()))
        .collect();
    found.sort();
    let mut expected: Vec<_> = tensors().into_iter().map(|t| (t.name, t.shape)).collect();
    expected.sort();
    assert_eq!(found, expected);
    for tensor in checkpoint.tensors() {
        let element = if tensor.dimensions.len() == 1 { "F32" } else { "Q8_0" };
        assert_eq!(tensor.element.name, element, "{}", tensor.name);
        assert_eq!(checkpoint.bytes(tensor).unwrap().len(), tensor.bytes.len());
    }
}

#[test]
fn the_seed_and_the_name_decide_what_is_in_it() {
    let (q, k) =
        ("model.layers.0.self_attn.q_proj.weight", "model.layers.1.self_attn.q_proj.weight");
    let norm = "model.norm.weight";
    let one = random(&config(), "BF16", 1).unwrap();
    let again = random(&config(), "BF16", 1).unwrap();
    let other = random(&config(), "BF16", 2).unwrap();
    for name in [q, norm] {
        assert_eq!(bytes(&one, name), bytes(&again, name));
        assert_ne!(bytes(&one, name), bytes(&other, name));
    }
    assert_ne!(bytes(&one, q), bytes(&one, k));
}

#[test]
fn rows_that_are_no_whole_blocks_are_of_half_precision() {
    // 64 and 96 inputs are no multiples of 256, and those of the embedding are.
    let mut config = config();
    config["hidden_size"] = json!(256);
    let checkpoint = random(&config, "Q4_K", 0).unwrap();
    for tensor in checkpoint.tensors().iter().filter(|tensor| tensor.dimensions.len() > 1) {
        let element = if tensor.dimensions[0] == 256 { "Q4_K" } else { "F16" };
        assert_eq!(tensor.element.name, element, "{}", tensor.name);
    }
    Blueprint::read(&checkpoint).unwrap();
}

#[test]
fn norms_are_near_one() {
    let checkpoint = random(&config(), "BF16", 0).unwrap();
    let norm = bytes(&checkpoint, "model.layers.1.input_layernorm.weight");
    let (values, []) = norm.as_chunks() else { panic!("four bytes each") };
    let values: Vec<_> = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    assert_eq!(values.len(), 64);
    assert!(values.iter().all(|value| (value - 1.0).abs() <= 0.1));
    assert!(values.iter().any(|value| (value - 1.0).abs() > 0.05));
}

#[test]
fn what_cannot_be_made_is_refused() {
    let refused = |config: &Value, element| random(config, element, 0).unwrap_err();
    assert!(refused(&config(), "Q8_1").contains("type Q8_1, which is not supported here"));
    assert!(refused(&json!({}), "BF16").contains("`model_type` is missing"));
    let huge = || {
        let mut config = config();
        config["hidden_size"] = json!(1 << 20);
        config["intermediate_size"] = json!(1 << 20);
        config["vocab_size"] = json!(1 << 20);
        config["num_hidden_layers"] = json!(4096);
        config
    };
    // As much as it may claim, nothing is made before it is asked for.
    let claimed = random(&huge(), "F32", 0).unwrap().tensor_bytes();
    assert!(claimed > 1 << 52, "{claimed}");
}
