//! Weights that nobody trained: of the right size in every type, and good enough to run.

use std::path::PathBuf;

use engine::{BackendExecutor, Config, ModelFile, TokenizerAssets};
use engine_backend::DType;
use engine_contract::Sampling;
use engine_cpu::CpuBackend;
use engine_model::{Checkpoint, ElementType};
use serde_json::json;
use tempfile::TempDir;

use crate::driver::{Cuts, Driver, Job};
use crate::floats::floats;

/// A mixture of four experts, two of them chosen, 512 wide.
fn config() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder for the config");
    let path = folder.path().join("config.json");
    let config = json!({
        "model_type": "qwen3_moe",
        "vocab_size": 300,
        "max_position_embeddings": 128,
        "hidden_size": 512,
        "num_hidden_layers": 2,
        "intermediate_size": 512,
        "moe_intermediate_size": 256,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "norm_topk_prob": true,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000,
        "hidden_act": "silu",
        "tie_word_embeddings": false,
    });
    std::fs::write(&path, config.to_string()).expect("room for the config");
    (folder, path)
}

fn types() -> Vec<&'static ElementType> {
    let names = ElementType::supported();
    names.split(", ").map(|name| ElementType::named(name).expect("one of them")).collect()
}

/// The weights of a tensor.
fn weights(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(dtype.block_bytes()).flat_map(|block| floats(dtype, block)).collect()
}

#[test]
fn weights_of_every_type_have_the_size_that_was_aimed_at() {
    let (_folder, path) = config();
    assert_eq!(types().len(), 16);
    for element in types() {
        let checkpoint = Checkpoint::random(&path, element, 1).unwrap();
        let named = |tensor: &&engine_model::TensorInfo| tensor.name.ends_with("q_proj.weight");
        let tensor = checkpoint.tensors().iter().find(named).unwrap();
        let values = weights(element.dtype.unwrap(), &checkpoint.bytes(tensor).unwrap());
        assert_eq!(values.len(), 512 * 256);
        let number = values.len() as f64;
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / number;
        let square = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() / number;
        let aim = (3.0_f64 / 512.0).sqrt();
        assert!((square.sqrt() / aim - 1.0).abs() < 0.02, "{}: {}", element.name, square.sqrt());
        assert!(mean.abs() < 0.02 * aim, "{}: {mean}", element.name);
        // No row is like another.
        assert_ne!(values[..512], values[512..1024], "{}", element.name);
    }
}

#[test]
fn models_of_every_type_run() {
    let (_folder, path) = config();
    let config = Config { rows_max: 2, step_tokens_max: 32, threads: 1, ..Config::default() };
    let jobs = [3, 5].map(|token| Job {
        prompt: vec![token, 7, 250],
        outputs: 6,
        sampling: Sampling::GREEDY,
    });
    let cuts = Cuts { depth: 1, chunk_max: 32, running_max: 2 };
    for element in types() {
        let file = ModelFile::random(&path, element.name, 3).unwrap();
        file.check().unwrap();
        let mut executor = BackendExecutor::new(CpuBackend::new(1), &file, &config).unwrap();
        let drawn = Driver::run(&mut executor, &jobs, cuts, 0, 0);
        // A driver fails where numbers are not finite.
        assert!(drawn.iter().all(|tokens| tokens.len() == 6), "{}", element.name);
        assert_ne!(drawn[0], drawn[1], "{}: whatever it is told it says the same", element.name);
    }
}

#[test]
fn the_same_seed_says_the_same() {
    let (_folder, path) = config();
    let text = |seed| {
        let file = ModelFile::random(&path, "Q4_K", seed).unwrap();
        let config = Config { rows_max: 1, step_tokens_max: 32, threads: 1, ..Config::default() };
        let mut executor = BackendExecutor::new(CpuBackend::new(1), &file, &config).unwrap();
        let job = Job { prompt: vec![1, 2], outputs: 8, sampling: Sampling::GREEDY };
        let cuts = Cuts { depth: 1, chunk_max: 32, running_max: 1 };
        Driver::run(&mut executor, &[job], cuts, 0, 0)
    };
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn a_vocabulary_is_made_up() {
    let (_folder, path) = config();
    let file = ModelFile::random(&path, "BF16", 0).unwrap();
    let text = file.text().unwrap();
    assert!(text.chat_template.is_some());
    let TokenizerAssets::Vocabulary(vocabulary) = text.tokenizer else { panic!("no file") };
    assert_eq!((vocabulary.tokens.len(), vocabulary.kinds.len()), (300, 300));
    let mut distinct = vocabulary.tokens.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 300);
    assert_eq!(vocabulary.tokens[258], "<|im_end|>");
    assert_eq!((vocabulary.eos, vocabulary.kinds[258]), (Some(258), 3));
    // A space and a line feed are written as GPT-2 wrote them.
    assert_eq!((&*vocabulary.tokens[32], &*vocabulary.tokens[10]), ("Ġ", "Ċ"));
}

#[test]
fn what_cannot_be_made_up_is_refused() {
    let (folder, path) = config();
    let refused = ModelFile::random(&path, "Q9", 0).unwrap_err().to_string();
    assert!(refused.starts_with("`Q9` is no type of weights; there are F32, F16,"), "{refused}");
    let small = std::fs::read_to_string(&path).unwrap().replace(":300", ":200");
    std::fs::write(&path, small).unwrap();
    let refused = ModelFile::random(&path, "F32", 0).unwrap().text().unwrap_err().to_string();
    assert!(
        refused.starts_with("metadata `vocab_size` is 200, expected 259 to 1048576: there is no"),
        "{refused}"
    );
    std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    let text = ModelFile::random(&path, "F32", 0).unwrap().text().unwrap();
    assert!(matches!(text.tokenizer, TokenizerAssets::File(_)));
}

#[test]
fn a_summary_counts_the_experts_that_are_chosen() {
    let (_folder, path) = config();
    let file = ModelFile::random(&path, "Q8_0", 5).unwrap();
    let summary = file.summary().to_string();
    let attention = 2 * (2 * 512 * 256 + 2 * 512 * 128);
    let (expert, router, norms) = (3 * 512 * 256, 512 * 4, 512 * (2 * 2 + 1) + 2 * 2 * 64);
    let active = attention + 2 * (2 * expert + router) + norms + 300 * 512;
    let all = active + 2 * 2 * expert + 300 * 512;
    let grouped = |number: usize| {
        let (millions, rest) = (number / 1_000_000, number % 1_000_000);
        format!("{millions},{:03},{:03}", rest / 1000, rest % 1000)
    };
    for line in [
        "architecture    qwen3_moe".to_owned(),
        "format          random Q8_0, seed 5".to_owned(),
        format!("parameters      {}, {} active", grouped(all), grouped(active)),
        "vocabulary      300 tokens".to_owned(),
        "chat template   yes".to_owned(),
        "experts         2 of 4, each 256 wide".to_owned(),
        "output          its own weight".to_owned(),
    ] {
        assert!(summary.lines().any(|found| found == line), "no line `{line}` in\n{summary}");
    }
}
