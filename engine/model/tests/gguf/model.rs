//! Files whose structure is sound, and whose model is not.

use std::path::Path;

use engine_model::{Blueprint, Checkpoint};

use crate::writer::Writer;

/// A llama of two layers: 64 wide, four heads of 16, two of them for keys and values.
pub(crate) fn tiny() -> Writer {
    let mut file = Writer::new();
    file.string("general.architecture", "llama");
    for (key, value) in [
        ("vocab_size", 40),
        ("context_length", 128),
        ("embedding_length", 64),
        ("block_count", 2),
        ("feed_forward_length", 96),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
    ] {
        file.u32(&format!("llama.{key}"), value);
    }
    file.f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
    let mut float = |name: &str, sizes: &[u64]| {
        let bytes = 4 * sizes.iter().product::<u64>() as usize;
        file.tensor(name, sizes, 0, vec![0; bytes]);
    };
    float("token_embd.weight", &[64, 40]);
    float("output_norm.weight", &[64]);
    for layer in 0..2 {
        let mut float = |name: &str, sizes: &[u64]| float(&format!("blk.{layer}.{name}"), sizes);
        float("attn_norm.weight", &[64]);
        float("attn_q.weight", &[64, 64]);
        float("attn_k.weight", &[64, 32]);
        float("attn_v.weight", &[64, 32]);
        float("attn_output.weight", &[64, 64]);
        float("ffn_norm.weight", &[64]);
        float("ffn_gate.weight", &[64, 96]);
        float("ffn_up.weight", &[64, 96]);
        float("ffn_down.weight", &[96, 64]);
    }
    file
}

pub(crate) fn read(file: &Writer) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder for the file");
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, file.finish()).expect("room for the file");
    let checkpoint = Checkpoint::open(&path).map_err(|error| error.to_string())?;
    Blueprint::read(&checkpoint).map(drop).map_err(|error| error.to_string())
}

/// Why a changed file is refused.
pub(crate) fn refusal_of(mut file: Writer, change: impl Fn(&mut Writer)) -> String {
    change(&mut file);
    read(&file).expect_err("a wrong model")
}

fn refusal(change: impl Fn(&mut Writer)) -> String {
    refusal_of(tiny(), change)
}

/// Replaces a key of the architecture.
pub(crate) fn set(file: &mut Writer, key: &str, value: u32) {
    let key = format!("llama.{key}");
    file.keys.retain(|(existing, _)| *existing != key);
    file.u32(&key, value);
}

#[test]
fn the_tiny_model_is_whole() {
    assert_eq!(read(&tiny()), Ok(()));
}

#[test]
fn an_unknown_architecture_is_refused_with_the_known_ones() {
    let refused = refusal(|file| {
        file.keys.remove(0);
        file.string("general.architecture", "mamba\n");
    });
    assert_eq!(
        refused,
        "metadata `general.architecture` is `mamba\\n`, which is not supported; \
         supported: gemma3, llama, qwen2, qwen2moe, qwen3, qwen3moe"
    );
    let refused = refusal(|file| drop(file.keys.remove(0)));
    assert_eq!(refused, "metadata `general.architecture` is missing, expected a string");
}

#[test]
fn numbers_out_of_range_are_named_by_their_key() {
    let number = |key: &'static str, value| refusal(move |file| set(file, key, value));
    assert_eq!(number("block_count", 0), "metadata `llama.block_count` is 0, expected 1 to 4096");
    assert_eq!(
        number("embedding_length", u32::MAX),
        "metadata `llama.embedding_length` is 4294967295, expected 1 to 1048576"
    );
    assert_eq!(
        number("attention.head_count_kv", 3),
        "metadata `llama.attention.head_count_kv` is 3, \
         expected a divisor of 4, the number of query heads"
    );
    assert_eq!(
        number("attention.value_length", 8),
        "metadata `llama.attention.value_length` is 8, expected 16, the length of a key"
    );
    for dims in [15, 18] {
        assert_eq!(
            number("rope.dimension_count", dims),
            format!(
                "metadata `llama.rope.dimension_count` is {dims}, \
                 expected an even number up to 16, the size of a head"
            )
        );
    }
    let refused = refusal(|file| file.f32("llama.rope.freq_base", f32::NAN));
    assert_eq!(refused, "metadata `llama.rope.freq_base` is NaN, expected a positive number");
    let refused = refusal(|file| file.string("llama.rope.scaling.type", "su"));
    assert_eq!(
        refused,
        "metadata `llama.rope.scaling.type` is su, expected none, linear, llama3 or yarn"
    );
    let refused = refusal(|file| file.strings("tokenizer.ggml.tokens", &["a", "b"]));
    assert_eq!(
        refused,
        "metadata `llama.vocab_size` is 40, expected 2, the length of `tokenizer.ggml.tokens`"
    );
}

#[test]
fn missing_keys_are_named() {
    for key in ["block_count", "context_length", "attention.head_count", "feed_forward_length"] {
        let full = format!("llama.{key}");
        let refused = refusal(|file| file.keys.retain(|(existing, _)| *existing != full));
        assert_eq!(refused, format!("metadata `{full}` is missing, expected an integer"));
    }
}

#[test]
fn tensors_that_contradict_the_metadata_are_named_with_both_shapes() {
    assert_eq!(
        refusal(|file| set(file, "embedding_length", 128)),
        "tensor `token_embd.weight` has the shape [64, 40], expected [128, 40] by the metadata"
    );
    assert_eq!(
        refusal(|file| set(file, "attention.head_count_kv", 4)),
        "tensor `blk.0.attn_k.weight` has the shape [64, 32], expected [64, 64] by the metadata"
    );
    // A false count of layers is found out at the third.
    assert_eq!(
        refusal(|file| set(file, "block_count", 1 << 12)),
        "tensor `blk.2.attn_norm.weight` is missing, expected the shape [64]"
    );
    assert_eq!(
        refusal(|file| set(file, "block_count", 1)),
        "tensor `blk.1.attn_norm.weight` of shape [64] has no place \
         in a model of architecture `llama`"
    );
    assert_eq!(
        refusal(|file| drop(file.tensors.remove(3))),
        "tensor `blk.0.attn_q.weight` is missing, expected the shape [64, 64]"
    );
    assert_eq!(
        refusal(|file| file.tensor("vision.weight", &[4], 0, vec![0; 16])),
        "tensor `vision.weight` of shape [4] has no place in a model of architecture `llama`"
    );
}

#[test]
fn types_that_cannot_be_computed_with_are_named() {
    let recode = |tensor: usize, code, bytes: usize| {
        refusal(move |file| {
            file.tensors[tensor].code = code;
            file.tensors[tensor].data = vec![0; bytes];
        })
    };
    assert_eq!(
        recode(3, 9, 64 * 64 / 32 * 36),
        "tensor `blk.0.attn_q.weight` has elements of type Q8_1, which is not supported here; \
         supported: F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, \
         IQ4_NL, IQ4_XS, BF16, MXFP4"
    );
    assert_eq!(
        recode(1, 8, 68),
        "tensor `output_norm.weight` has elements of type Q8_0, which is not supported here; \
         supported: F32, F16, BF16"
    );
}

#[test]
fn what_is_not_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Checkpoint::open(Path::new("/dev/null")).unwrap_err().to_string();
    assert_eq!(refused, "cannot read the file: not a regular file");
    assert!(Checkpoint::open(&folder.path().join("absent")).is_err());
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    assert_eq!(
        Checkpoint::open(&empty).unwrap_err().to_string(),
        "file is truncated in the header: 4 bytes are needed at offset 0, but the file has 0"
    );
}
