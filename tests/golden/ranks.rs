//! The engine by several ranks, CPUs of one process, against the references that one is held to.

use std::path::Path;

use engine::{ActivationType, Config, KvType, LoadError, ModelFile, RankedExecutor};
use engine_backend::DType;
use engine_cpu::CpuBackend;
use engine_model::{Checkpoint, Facts, TensorInfo};
use tests::demo_model::demo_model;

use crate::continuation;
use crate::driver::{Cuts, Driver};
use crate::floats::floats;
use crate::forced;
use crate::peers;
use crate::reference::{self, Case};
use crate::smollm2;
use crate::writer::Writer;

const TRAINED: &str = "qwen3_moe_tiny/model-q4_k_m.gguf";

fn engine(
    of: usize,
    file: &ModelFile,
    kv_type: KvType,
    activation_type: ActivationType,
) -> Result<RankedExecutor<CpuBackend>, LoadError> {
    let config = Config { kv_type, activation_type, step_tokens_max: 1024, ..Config::default() };
    peers::executor(of, file, &config)
}

/// Small models of every architecture, in every format, by two and by four ranks.
fn each(mut check: impl FnMut(&Case, &ModelFile, &str, usize)) {
    for case in &reference::cases(include_str!("families.json")) {
        for format in ["", ".gguf"] {
            let name = format!("families/{}{format}", case.name);
            let file = reference::open(&name);
            [2, 4].into_iter().for_each(|of| check(case, &file, &name, of));
        }
    }
}

/// Models with two heads of queries, which four ranks cannot share.
const TWO_HEADS: [&str; 3] = ["llama3", "llama_yarn", "gemma3"];

/// Within the bounds that hold for one, and with the reference's tokens.
#[test]
fn ranks_are_the_reference_s() {
    let mut shared = 0;
    each(|case, file, name, of| {
        if of == 4 && TWO_HEADS.contains(&&*case.name) {
            return;
        }
        for (kv_type, mean_max, largest_max) in
            [(KvType::F32, 1e-4, 1e-4), (KvType::F16, 2e-3, 1e-2)]
        {
            let mut engine = engine(of, file, kv_type, ActivationType::Int8).expect(name);
            let found = forced::logits(&mut engine, &[case.text()], |buffer| buffer.values());
            let error = case.error(&found[0]);
            let near = error.mean < mean_max && error.largest < largest_max;
            assert!(near, "{name} by {of}, {kv_type:?}: {error:?}");
            assert_eq!(case.drawn(&found[0]), case.greedy, "{name} by {of}, {kv_type:?}");
        }
        shared += 1;
    });
    assert_eq!(shared, 2 * (9 + 6));
}

#[test]
fn two_heads_cannot_be_shared_by_four() {
    each(|case, file, name, of| {
        if of == 2 || !TWO_HEADS.contains(&&*case.name) {
            return;
        }
        let error = engine(of, file, KvType::F16, ActivationType::Int8).err().expect(name);
        let gguf = if case.name == "gemma3" { "gemma3." } else { "llama." };
        let key = if name.ends_with(".gguf") {
            format!("{gguf}attention.head_count")
        } else {
            "num_attention_heads".to_owned()
        };
        assert_eq!(
            error.to_string(),
            format!(
                "the model cannot be shared by 4 devices: metadata `{key}` is 2, expected a \
                 multiple of 4, to be cut into as many parts"
            )
        );
    });
}

/// The trained mixture with the same weights in single precision, whose rows can be cut anywhere.
fn unpacked(folder: &Path) -> ModelFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(TRAINED);
    let checkpoint = Checkpoint::open(&path).expect("a sound file");
    let mut file = metadata(checkpoint.facts());
    for tensor in checkpoint.tensors() {
        let bytes = checkpoint.bytes(tensor).expect("a sound file");
        file.tensor(&tensor.name, &tensor.dimensions, 0, singles(tensor, &bytes));
    }
    let path = folder.join("model.gguf");
    std::fs::write(&path, file.finish()).expect("room for the model");
    ModelFile::open(&path).expect("a whole model")
}

fn singles(tensor: &TensorInfo, bytes: &[u8]) -> Vec<u8> {
    let dtype: DType = tensor.element.dtype.expect("a type of weights");
    let blocks = bytes.chunks_exact(dtype.block_bytes());
    blocks.flat_map(|block| floats(dtype, block)).flat_map(f32::to_le_bytes).collect()
}

fn metadata(facts: &Facts) -> Writer {
    let mut file = Writer::new();
    file.string("general.architecture", "qwen3moe");
    let sizes = [
        "context_length",
        "embedding_length",
        "block_count",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "expert_count",
        "expert_used_count",
        "expert_feed_forward_length",
    ];
    for key in sizes.map(|key| format!("qwen3moe.{key}")) {
        file.u32(&key, facts.u32(&key).expect("an integer").expect("is there"));
    }
    for key in ["rope.freq_base", "attention.layer_norm_rms_epsilon"] {
        let key = format!("qwen3moe.{key}");
        file.f32(&key, facts.f32(&key).expect("a number").expect("is there"));
    }
    let tokens = facts.strings("tokenizer.ggml.tokens").expect("strings").expect("are there");
    file.u32("qwen3moe.vocab_size", u32::try_from(tokens.len()).expect("a small number"));
    file
}

/// Experts that ranks share, trained: the logits of the reference and all of its greedy
/// continuations, by two ranks and by four, which have two heads of keys and values between them.
#[test]
fn a_trained_mixture_goes_on_as_the_reference() {
    let folder = tempfile::tempdir().expect("a folder for the model");
    let file = unpacked(folder.path());
    let cases = continuation::cases(include_str!("qwen3_moe_tiny/golden.json"));
    for of in [2, 4] {
        let mut engine = engine(of, &file, KvType::F32, ActivationType::Int8).expect("shared");
        let texts: Vec<_> = cases.iter().map(|case| case.text(case.greedy.len())).collect();
        let found = forced::logits(&mut engine, &texts, |buffer| buffer.values());
        for (case, found) in cases.iter().zip(&found) {
            let error = case.error(found, 0.0);
            assert!(error.largest < 1e-3, "{} by {of}: {error:?}", case.name);
        }
        let jobs: Vec<_> = cases.iter().map(continuation::Case::job).collect();
        let cuts = Cuts { depth: 2, chunk_max: 64, running_max: jobs.len() };
        for (case, drawn) in cases.iter().zip(&Driver::run(&mut engine, &jobs, cuts, 1, 1 << 20)) {
            assert!(case.is_equal(drawn, 0.0), "{} by {of}", case.name);
        }
    }
}

/// Its own weights are blocks of 256 inputs, and no block is cut.
#[test]
fn blocks_are_not_cut() {
    let error = engine(2, &reference::open(TRAINED), KvType::F16, ActivationType::Int8);
    assert_eq!(
        error.err().expect("one block a row").to_string(),
        "the model cannot be shared by 2 devices: tensor `blk.0.attn_output.weight` has rows of 256 \
         elements of type Q4_K, which cannot be cut into 2 parts of whole blocks of 256"
    );
}

/// The demo model has three heads of keys and values, and blocks of 32 inputs.
#[test]
fn three_ranks_tell_the_demo_model_s_texts() {
    let file = ModelFile::open(&demo_model()).expect("a sound file");
    let mut engine = engine(3, &file, KvType::F32, ActivationType::Int16).expect("shared by three");
    let cases = smollm2::cases();
    let jobs: Vec<_> = cases.iter().map(continuation::Case::job).collect();
    let cuts = Cuts { depth: 2, chunk_max: 64, running_max: jobs.len() };
    for (case, drawn) in cases.iter().zip(&Driver::run(&mut engine, &jobs, cuts, 1, 0)) {
        assert!(case.is_equal(drawn, 0.0), "{}", case.name);
    }
}
