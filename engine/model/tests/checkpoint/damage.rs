//! Damaged files: whatever the damage, the answer is a checkpoint that can be used, or an error.

use engine_model::{Blueprint, Config, TensorInfo, parse_safetensors};
use proptest::prelude::*;

use crate::tiny::{config, framed, index, read, safetensors, tensors, write};

fn small() -> Vec<u8> {
    safetensors(&tensors()[1..4])
}

/// Tensors that were read are ones that can be used.
fn assert_sound(tensors: &[TensorInfo], file: &[u8]) {
    let mut ranges: Vec<_> = tensors.iter().map(|tensor| tensor.bytes.clone()).collect();
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.iter().all(|range| range.start < range.end && range.end <= file.len()));
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
    for tensor in tensors {
        let bytes = tensor.num_elements() * tensor.element.block_bytes;
        assert_eq!(bytes, tensor.bytes.len() as u64);
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = small();
    for length in 0..whole.len() {
        assert!(parse_safetensors(&whole[..length]).is_err(), "cut after {length} bytes");
    }
    assert_sound(&parse_safetensors(&whole).unwrap(), &whole);
}

#[test]
fn any_byte_may_be_wrong() {
    let whole = small();
    let mut damaged = whole.clone();
    for index in 0..whole.len().min(2000) {
        for flip in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff] {
            damaged[index] ^= flip;
            if let Ok(tensors) = parse_safetensors(&damaged) {
                assert_sound(&tensors, &damaged);
            }
            damaged[index] = whole[index];
        }
    }
}

#[test]
fn a_config_with_any_byte_wrong_or_cut_is_read_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "model.safetensors", safetensors(&tensors()));
    let whole = config().to_string().into_bytes();
    let check = |text: &[u8]| {
        write(folder.path(), "config.json", text);
        if let Ok(checkpoint) = read(folder.path()) {
            // What fits the tensors has their sizes.
            assert_eq!(Blueprint::read(&checkpoint).unwrap().spec().width, 64);
        }
    };
    for length in 0..whole.len() {
        assert!(
            Config::parse("config.json", &whole[..length]).is_err(),
            "cut after {length} bytes"
        );
    }
    let mut damaged = whole.clone();
    for index in 0..whole.len() {
        for flip in [0x01, 0x02, 0x08, 0x40] {
            damaged[index] ^= flip;
            check(&damaged);
            damaged[index] = whole[index];
        }
    }
}

#[test]
fn an_index_with_any_byte_wrong_or_cut_is_read_or_refused() {
    const SHARD: &str = "a.safetensors";
    let folder = tempfile::tempdir().unwrap();
    let all = tensors();
    write(folder.path(), "config.json", config().to_string());
    write(folder.path(), SHARD, safetensors(&all));
    let whole = index(&[(SHARD, &all)]).to_string().into_bytes();
    let check = |text: &[u8]| {
        write(folder.path(), "model.safetensors.index.json", text);
        read(folder.path()).map(|checkpoint| checkpoint.tensors().len())
    };
    assert_eq!(check(&whole), Ok(all.len()));
    for length in 0..whole.len() {
        assert!(check(&whole[..length]).is_err(), "cut after {length} bytes");
    }
    let mut damaged = whole.clone();
    for index in 0..whole.len() {
        damaged[index] ^= 0x04;
        match check(&damaged) {
            // What the file's totals say is nobody's business.
            Ok(found) => assert_eq!(found, all.len()),
            Err(reason) => assert!(reason.starts_with('`'), "{reason}"),
        }
        damaged[index] = whole[index];
    }
}

proptest! {
    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..512)) {
        if let Ok(tensors) = parse_safetensors(&noise) {
            assert_sound(&tensors, &noise);
        }
        let file = framed(&String::from_utf8_lossy(&noise), &noise);
        if let Ok(tensors) = parse_safetensors(&file) {
            assert_sound(&tensors, &file);
        }
        drop(Config::parse("config.json", &noise));
    }

    #[test]
    fn many_wrong_bytes_are_survived(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut file = small();
        for (index, byte) in damage {
            let index = index.index(file.len());
            file[index] = byte;
        }
        if let Ok(tensors) = parse_safetensors(&file) {
            assert_sound(&tensors, &file);
        }
    }

    #[test]
    fn numbers_may_be_any(
        shape in prop::collection::vec(any::<u64>(), 0..6),
        offsets in prop::collection::vec(any::<u64>(), 0..4),
    ) {
        let header = serde_json::json!({
            "a": {"dtype": "BF16", "shape": shape, "data_offsets": offsets},
        });
        let file = framed(&header.to_string(), &[0; 64]);
        if let Ok(tensors) = parse_safetensors(&file) {
            assert_sound(&tensors, &file);
        }
    }

    #[test]
    fn pieces_may_be_cut_out_or_repeated(
        from in any::<prop::sample::Index>(),
        length in 1_usize..64,
        repeat in 0_usize..3,
    ) {
        let mut file = small();
        let from = from.index(file.len() - length);
        let piece = file[from..from + length].repeat(repeat);
        file.splice(from..from + length, piece);
        if let Ok(tensors) = parse_safetensors(&file) {
            assert_sound(&tensors, &file);
        }
    }
}
