//! What models with experts ask of a file.

use crate::model::{read, refusal_of, set, tiny};
use crate::writer::Writer;

const EXPERTS: u64 = 4;
const WIDTH: u64 = 64;
const MLP: u64 = 32;

/// A tiny Mixtral, which GGUF files call a llama.
fn mixtral() -> Writer {
    let mut file = tiny();
    file.tensors.retain(|tensor| {
        let dense = ["ffn_gate.", "ffn_up.", "ffn_down."];
        !dense.iter().any(|name| tensor.name.contains(name))
    });
    set(&mut file, "feed_forward_length", MLP as u32);
    file.u32("llama.expert_count", EXPERTS as u32);
    file.u32("llama.expert_used_count", 2);
    for layer in 0..2 {
        let mut tensor = |name: &str, sizes: &[u64]| {
            let bytes = vec![0; 4 * sizes.iter().product::<u64>() as usize];
            file.tensor(&format!("blk.{layer}.{name}.weight"), sizes, 0, bytes);
        };
        tensor("ffn_gate_inp", &[WIDTH, EXPERTS]);
        tensor("ffn_gate_exps", &[WIDTH, MLP, EXPERTS]);
        tensor("ffn_up_exps", &[WIDTH, MLP, EXPERTS]);
        tensor("ffn_down_exps", &[MLP, WIDTH, EXPERTS]);
    }
    file
}

fn refusal(change: impl Fn(&mut Writer)) -> String {
    refusal_of(mixtral(), change)
}

#[test]
fn a_llama_may_have_experts() {
    assert_eq!(read(&mixtral()), Ok(()));
}

#[test]
fn no_more_experts_are_chosen_than_there_are() {
    assert_eq!(
        refusal(|file| set(file, "expert_used_count", 5)),
        "metadata `llama.expert_used_count` is 5, expected 1 to 4, the number of experts"
    );
    assert_eq!(
        refusal(|file| set(file, "expert_used_count", 0)),
        "metadata `llama.expert_used_count` is 0, expected 1 to 1048576"
    );
    let refused = refusal(|file| file.keys.retain(|(key, _)| !key.ends_with("used_count")));
    assert_eq!(refused, "metadata `llama.expert_used_count` is missing, expected an integer");
}

#[test]
fn a_false_count_of_experts_is_named_with_both_shapes() {
    assert_eq!(
        refusal(|file| set(file, "expert_count", 1 << 16)),
        "tensor `blk.0.ffn_gate_inp.weight` has the shape [64, 4], expected [64, 65536] by the \
         metadata"
    );
    // Without the key its layers are dense, and have other weights.
    assert_eq!(
        refusal(|file| set(file, "expert_count", 0)),
        "tensor `blk.0.ffn_gate.weight` is missing, expected the shape [64, 32]"
    );
}

#[test]
fn a_missing_weight_of_the_experts_is_named() {
    for (name, shape) in [
        ("ffn_gate_inp", "[64, 4]"),
        ("ffn_gate_exps", "[64, 32, 4]"),
        ("ffn_up_exps", "[64, 32, 4]"),
        ("ffn_down_exps", "[32, 64, 4]"),
    ] {
        let name = format!("blk.1.{name}.weight");
        assert_eq!(
            refusal(|file| file.tensors.retain(|tensor| tensor.name != name)),
            format!("tensor `{name}` is missing, expected the shape {shape}")
        );
    }
}
