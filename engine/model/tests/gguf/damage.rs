//! Damaged files: whatever the damage, the answer is a header or an error, and neither is large.

use engine_model::{Blueprint, Checkpoint, Header};
use proptest::prelude::*;

use crate::model::tiny;
use crate::sample;

#[test]
fn a_file_cut_anywhere_is_refused() {
    for whole in [sample().finish(), tiny().finish()] {
        let header = Header::parse(&whole).unwrap();
        let last = header.tensors.iter().map(|tensor| tensor.bytes.end).max().unwrap();
        let step = (last / 4000).max(1);
        for length in (0..last).step_by(step) {
            assert!(Header::parse(&whole[..length]).is_err(), "cut after {length} bytes");
        }
        // Padding at the end may be absent.
        assert!(Header::parse(&whole[..last]).is_ok());
    }
}

#[test]
fn any_byte_may_be_wrong() {
    let whole = sample().finish();
    for index in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[index] ^= flip;
            if let Ok(header) = Header::parse(&damaged) {
                assert_sound(&header, &damaged);
            }
        }
    }
}

#[test]
fn a_model_with_any_byte_wrong_is_read_or_refused() {
    let whole = tiny().finish();
    let header_bytes = Header::parse(&whole).unwrap().tensors[0].bytes.start;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.gguf");
    let mut damaged = whole;
    for index in 0..header_bytes {
        damaged[index] ^= 0x11;
        std::fs::write(&path, &damaged).unwrap();
        if let Ok(checkpoint) = Checkpoint::open(&path) {
            // What is refused here is refused in words; what is not fits the file.
            if let Ok(blueprint) = Blueprint::read(&checkpoint) {
                assert!(blueprint.spec().width < damaged.len());
            }
        }
        damaged[index] ^= 0x11;
    }
}

proptest! {
    #[test]
    fn noise_after_the_magic_is_refused(noise in prop::collection::vec(any::<u8>(), 0..512)) {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(noise);
        if let Ok(header) = Header::parse(&file) {
            assert_sound(&header, &file);
        }
    }

    #[test]
    fn many_wrong_bytes_are_survived(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        wide in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 0..2),
    ) {
        let mut file = sample().finish();
        for (index, byte) in damage {
            let index = index.index(file.len());
            file[index] = byte;
        }
        for (index, number) in wide {
            let index = index.index(file.len() - 8);
            file[index..index + 8].copy_from_slice(&number.to_le_bytes());
        }
        if let Ok(header) = Header::parse(&file) {
            assert_sound(&header, &file);
        }
    }

    #[test]
    fn pieces_may_be_cut_out_or_repeated(
        from in any::<prop::sample::Index>(),
        length in 1_usize..64,
        repeat in 0_usize..3,
    ) {
        let mut file = sample().finish();
        let from = from.index(file.len() - length);
        let piece = file[from..from + length].repeat(repeat);
        file.splice(from..from + length, piece);
        if let Ok(header) = Header::parse(&file) {
            assert_sound(&header, &file);
        }
    }
}

/// A header that was read is one that can be used.
fn assert_sound(header: &Header, file: &[u8]) {
    let mut ends: Vec<_> = header.tensors.iter().map(|tensor| tensor.bytes.clone()).collect();
    ends.sort_by_key(|bytes| bytes.start);
    assert!(ends.iter().all(|bytes| bytes.start < bytes.end && bytes.end <= file.len()));
    assert!(ends.windows(2).all(|pair| pair[0].end <= pair[1].start));
    assert!(header.tensors.iter().all(|tensor| tensor.num_elements() > 0));
    assert!(header.metadata.len() <= file.len());
}
