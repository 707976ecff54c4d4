//! What Llama's neighbours ask of a file beside what a llama does.

use crate::model::{read, refusal_of as refusal, tiny};
use crate::writer::Writer;

/// A tiny llama under another name, and with more vectors.
fn neighbour(architecture: &str, vectors: &[(&str, u64)]) -> Writer {
    let mut file = tiny();
    file.keys.remove(0);
    for (key, _) in &mut file.keys {
        *key = key.replace("llama.", &format!("{architecture}."));
    }
    file.string("general.architecture", architecture);
    for layer in 0..2 {
        for &(name, length) in vectors {
            let bytes = vec![0; 4 * length as usize];
            file.tensor(&format!("blk.{layer}.{name}"), &[length], 0, bytes);
        }
    }
    file
}

fn qwen2() -> Writer {
    neighbour("qwen2", &[("attn_q.bias", 64), ("attn_k.bias", 32), ("attn_v.bias", 32)])
}

fn qwen3() -> Writer {
    neighbour("qwen3", &[("attn_q_norm.weight", 16), ("attn_k_norm.weight", 16)])
}

fn remove(file: &mut Writer, name: &str) {
    file.tensors.retain(|tensor| tensor.name != name);
}

#[test]
fn neighbours_are_whole() {
    assert_eq!(read(&qwen2()), Ok(()));
    assert_eq!(read(&qwen3()), Ok(()));
}

#[test]
fn what_is_missing_is_named() {
    for (name, length) in [("q", 64), ("k", 32), ("v", 32)] {
        let name = format!("blk.1.attn_{name}.bias");
        assert_eq!(
            refusal(qwen2(), |file| remove(file, &name)),
            format!("tensor `{name}` is missing, expected the shape [{length}]")
        );
    }
    for name in ["q", "k"] {
        let name = format!("blk.1.attn_{name}_norm.weight");
        assert_eq!(
            refusal(qwen3(), |file| remove(file, &name)),
            format!("tensor `{name}` is missing, expected the shape [16]")
        );
    }
}

#[test]
fn what_a_neighbour_does_not_have_is_left_over() {
    let bias = |file: &mut Writer| file.tensor("blk.0.attn_q.bias", &[64], 0, vec![0; 256]);
    for (file, architecture) in [(tiny(), "llama"), (qwen3(), "qwen3")] {
        assert_eq!(
            refusal(file, bias),
            format!(
                "tensor `blk.0.attn_q.bias` of shape [64] has no place \
                 in a model of architecture `{architecture}`"
            )
        );
    }
    assert_eq!(
        refusal(qwen2(), |file| {
            file.tensor("blk.0.attn_q_norm.weight", &[16], 0, vec![0; 64]);
        }),
        "tensor `blk.0.attn_q_norm.weight` of shape [16] has no place \
         in a model of architecture `qwen2`"
    );
}

#[test]
fn sizes_that_contradict_the_metadata_are_named() {
    assert_eq!(
        refusal(qwen3(), |file| file.u32("qwen3.attention.key_length", 32)),
        "tensor `blk.0.attn_q.weight` has the shape [64, 64], expected [64, 128] by the metadata"
    );
    let shorten = |name: &'static str, length: u64| {
        move |file: &mut Writer| {
            remove(file, name);
            file.tensor(name, &[length], 0, vec![0; 4 * length as usize]);
        }
    };
    assert_eq!(
        refusal(qwen2(), shorten("blk.0.attn_v.bias", 16)),
        "tensor `blk.0.attn_v.bias` has the shape [16], expected [32] by the metadata"
    );
    assert_eq!(
        refusal(qwen3(), shorten("blk.0.attn_k_norm.weight", 32)),
        "tensor `blk.0.attn_k_norm.weight` has the shape [32], expected [16] by the metadata"
    );
}
