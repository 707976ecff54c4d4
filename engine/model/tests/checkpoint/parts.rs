//! GGUF files in several parts.

use std::fs;

use tempfile::TempDir;

use crate::tiny::{read, write};
use crate::writer::Writer;

const NAMES: [&str; 3] =
    ["tiny-00001-of-00003.gguf", "tiny-00002-of-00003.gguf", "tiny-00003-of-00003.gguf"];

/// A llama of one layer.
fn tiny() -> Writer {
    let mut file = Writer::new();
    file.string("general.architecture", "llama");
    for (key, value) in [
        ("vocab_size", 40),
        ("context_length", 128),
        ("embedding_length", 64),
        ("block_count", 1),
        ("feed_forward_length", 96),
        ("attention.head_count", 4),
    ] {
        file.u32(&format!("llama.{key}"), value);
    }
    file.f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
    file.strings("tokenizer.ggml.tokens", &["x"; 40]);
    for (index, (name, sizes)) in [
        ("token_embd", &[64, 40][..]),
        ("output_norm", &[64]),
        ("blk.0.attn_norm", &[64]),
        ("blk.0.attn_q", &[64, 64]),
        ("blk.0.attn_k", &[64, 64]),
        ("blk.0.attn_v", &[64, 64]),
        ("blk.0.attn_output", &[64, 64]),
        ("blk.0.ffn_norm", &[64]),
        ("blk.0.ffn_gate", &[64, 96]),
        ("blk.0.ffn_up", &[64, 96]),
        ("blk.0.ffn_down", &[96, 64]),
    ]
    .into_iter()
    .enumerate()
    {
        let bytes = 4 * sizes.iter().product::<u64>() as usize;
        file.tensor(&format!("{name}.weight"), sizes, 0, vec![index as u8; bytes]);
    }
    file
}

/// The same in three parts, the first of which has no tensor.
fn parts() -> [Writer; 3] {
    let whole = tiny();
    let mut parts = [Writer::new(), Writer::new(), Writer::new()];
    parts[0].keys.clone_from(&whole.keys);
    parts[1].tensors = whole.tensors[..5].to_vec();
    parts[2].tensors = whole.tensors[5..].to_vec();
    for (number, part) in (0_u16..).zip(&mut parts) {
        part.value("split.no", 2, &number.to_le_bytes());
        part.value("split.count", 2, &3_u16.to_le_bytes());
        part.value("split.tensors.count", 5, &11_i32.to_le_bytes());
    }
    parts
}

fn folder(parts: &[Writer; 3]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder for the files");
    for (name, part) in NAMES.iter().zip(parts) {
        write(folder.path(), name, part.finish());
    }
    folder
}

fn refusal(change: impl Fn(&mut [Writer; 3])) -> String {
    let mut parts = parts();
    change(&mut parts);
    read(&folder(&parts).path().join(NAMES[0])).expect_err("wrong parts")
}

fn set(part: &mut Writer, key: &str, value: u32) {
    part.keys.retain(|(existing, _)| existing != key);
    part.u32(key, value);
}

#[test]
fn any_part_leads_to_all() {
    let whole = tempfile::tempdir().unwrap();
    write(whole.path(), "tiny.gguf", tiny().finish());
    let expected = read(&whole.path().join("tiny.gguf")).unwrap();
    assert_eq!(expected.format(), "GGUF version 3");
    let folder = folder(&parts());
    for name in NAMES {
        let checkpoint = read(&folder.path().join(name)).unwrap();
        assert_eq!(checkpoint.format(), "GGUF version 3, 3 parts");
        assert_eq!(checkpoint.tensor_bytes(), expected.tensor_bytes());
        for (found, expected_info) in checkpoint.tensors().iter().zip(expected.tensors()) {
            assert_eq!(found.name, expected_info.name);
            let expected = expected.bytes(expected_info).unwrap();
            assert_eq!(*checkpoint.bytes(found).unwrap(), *expected, "{}", found.name);
        }
    }
}

#[test]
fn a_missing_part_is_named() {
    for missing in NAMES {
        let folder = folder(&parts());
        fs::remove_file(folder.path().join(missing)).unwrap();
        let there = NAMES.into_iter().find(|name| *name != missing).unwrap();
        let refused = read(&folder.path().join(there)).unwrap_err();
        assert_eq!(refused, format!("`{missing}`: it is missing"));
    }
}

#[test]
fn parts_agree_with_their_names_and_each_other() {
    assert_eq!(
        refusal(|parts| parts.swap(1, 2)),
        format!("`{}`: `split.no` is 2, expected 1, as the names of the parts say", NAMES[1])
    );
    assert_eq!(
        refusal(|parts| set(&mut parts[2], "split.count", 4)),
        format!("`{}`: `split.count` is 4, expected 3, as the names of the parts say", NAMES[2])
    );
    assert_eq!(
        refusal(|parts| set(&mut parts[0], "split.no", 1)),
        format!(
            "`{}`: it is part 2 of 3, expected a name that ends in -00002-of-00003.gguf",
            NAMES[0]
        )
    );
    assert_eq!(
        refusal(|parts| set(&mut parts[0], "split.no", 3)),
        format!("`{}`: `split.no` is 3, expected less than 3", NAMES[0])
    );
    assert_eq!(
        refusal(|parts| set(&mut parts[0], "split.count", u32::MAX)),
        format!("`{}`: `split.count` is 4294967295, expected at most 4096", NAMES[0])
    );
    assert_eq!(
        refusal(|parts| set(&mut parts[0], "split.tensors.count", 12)),
        format!(
            "`{}`: `split.tensors.count` is 12, expected 11, the number of tensors in all parts",
            NAMES[0]
        )
    );
    assert_eq!(
        refusal(|parts| parts[2].string("split.no", "2")),
        format!("`{}`: metadata `split.no` occurs twice", NAMES[2])
    );
}

#[test]
fn a_tensor_is_in_one_part() {
    assert_eq!(
        refusal(|parts| {
            let twice = parts[1].tensors[0].clone();
            parts[2].tensors.push(twice);
        }),
        format!("`{}`: tensor `token_embd.weight` occurs twice, first in `{}`", NAMES[2], NAMES[1])
    );
}

#[test]
fn a_damaged_part_is_named() {
    let refused = refusal(|parts| parts[1].magic = *b"PKPK");
    assert!(refused.starts_with(&format!("`{}`: not a GGUF file", NAMES[1])), "{refused}");
}

#[test]
fn a_part_of_one_may_have_any_name() {
    let mut file = tiny();
    file.u32("split.count", 1);
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "whole.gguf", file.finish());
    assert_eq!(read(&folder.path().join("whole.gguf")).unwrap().format(), "GGUF version 3");
}
