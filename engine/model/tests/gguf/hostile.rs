//! Each thing that a file can get wrong, and the sentence that says so.

use engine_model::Header;

use crate::writer::Writer;
use crate::{parse, refusal, sample};

#[test]
fn a_right_file_is_read_as_it_was_written() {
    let header = parse(&sample()).unwrap();
    let metadata = &header.metadata;
    assert_eq!((header.version, metadata.len()), (3, 10));
    assert_eq!(metadata.string("general.architecture"), Ok(Some("llama")));
    assert_eq!(metadata.f32("a.float"), Ok(Some(0.5)));
    assert_eq!(metadata.f32("a.double"), Ok(Some(2.5)));
    assert_eq!(metadata.bool("a.bool"), Ok(Some(true)));
    assert_eq!(metadata.i32s("a.integers"), Ok(Some(vec![1, -1])));
    assert_eq!(metadata.f32s("a.floats"), Ok(Some(&[1.5][..])));
    let strings: Vec<_> = metadata.strings("a.strings").unwrap().unwrap().iter().collect();
    assert_eq!(strings, ["one", "", "drei ½"]);
    assert_eq!(metadata.u32("absent"), Ok(None));

    let file = sample().finish();
    let [first, second] = &header.tensors[..] else { panic!("two tensors") };
    assert_eq!(
        (first.name.as_str(), first.element.name, first.num_elements()),
        ("first", "Q4_1", 64)
    );
    assert_eq!((second.name.as_str(), second.element.name), ("second", "F32"));
    assert_eq!(first.dimensions, [32, 2]);
    assert_eq!(file[first.bytes.clone()], [7; 40]);
    assert_eq!(file[second.bytes.clone()], [9; 12]);
}

#[test]
fn version_2_is_read_and_others_are_refused() {
    let versions = |version| Writer { version, ..sample() };
    assert_eq!(parse(&versions(2)).unwrap().version, 2);
    for version in [0, 1, 4, 3_u32.swap_bytes()] {
        assert_eq!(
            refusal(&versions(version)),
            format!(
                "GGUF version {version} is not supported, expected version 2 or 3, little-endian"
            )
        );
    }
}

#[test]
fn other_files_are_refused_by_their_first_bytes() {
    assert_eq!(
        refusal(&Writer { magic: *b"PK\x03\x04", ..sample() }),
        "not a GGUF file: it begins with the bytes [50, 4b, 03, 04], expected those of \"GGUF\""
    );
    assert_eq!(
        Header::parse(b"").unwrap_err().to_string(),
        "file is truncated in the header: 4 bytes are needed at offset 0, but the file has 0"
    );
}

#[test]
fn false_counts_are_refused() {
    for count in [(1 << 16) + 1, u64::MAX] {
        assert_eq!(
            refusal(&Writer { num_keys: Some(count), ..sample() }),
            format!("the header counts {count} metadata keys, expected at most 65536")
        );
        assert_eq!(
            refusal(&Writer { num_tensors: Some(count), ..sample() }),
            format!("the header counts {count} tensors, expected at most 65536")
        );
    }
    let more = refusal(&Writer { num_tensors: Some(60_000), ..sample() });
    assert!(more.starts_with("tensor number 2 has a name of "), "{more}");
}

#[test]
fn false_lengths_are_refused_without_being_allocated() {
    for length in [1 << 20, u64::MAX] {
        let mut file = Writer::new();
        file.value("a.string", 8, &length.to_le_bytes());
        let refused = refusal(&file);
        assert!(
            refused
                .starts_with(&format!("file is truncated in metadata `a.string`: {length} bytes")),
            "{refused}"
        );
        for kind in [0_u32, 4, 8, 10, 12] {
            let mut file = Writer::new();
            let array = [&kind.to_le_bytes()[..], &length.to_le_bytes()].concat();
            file.value("an.array", 9, &array);
            let refused = refusal(&file);
            assert!(refused.starts_with("file is truncated in metadata `an.array`"), "{refused}");
        }
    }
}

#[test]
fn a_header_has_an_end() {
    let mut file = Writer::new();
    let strings = [&8_u32.to_le_bytes()[..], &(9_u64 << 20).to_le_bytes()].concat();
    file.value("empty.strings", 9, &[strings, vec![0; 72 << 20]].concat());
    assert_eq!(
        refusal(&file),
        "the header goes on beyond 67108864 bytes in metadata `empty.strings`, \
         expected its end before"
    );
}

#[test]
fn wrong_values_are_named_by_their_key() {
    let value = |kind, bytes: &[u8]| {
        let mut file = Writer::new();
        file.value("a.key", kind, bytes);
        refusal(&file)
    };
    assert_eq!(value(13, &[]), "metadata `a.key` has value type 13, expected 0 to 12");
    assert_eq!(value(7, &[2]), "metadata `a.key` holds 2 as a boolean, expected 0 or 1");
    let text = [&2_u64.to_le_bytes()[..], &[0xc3, 0x28]].concat();
    assert_eq!(value(8, &text), "metadata `a.key` is not valid UTF-8");
    let array = |kind: u32, bytes: &[u8]| {
        let array = [&kind.to_le_bytes()[..], &1_u64.to_le_bytes(), bytes].concat();
        value(9, &array)
    };
    assert_eq!(array(99, &[]), "metadata `a.key` has value type 99, expected 0 to 12");
    assert_eq!(array(7, &[9]), "metadata `a.key` holds 9 as a boolean, expected 0 or 1");
    assert_eq!(
        array(9, &9_u32.to_le_bytes().repeat(1000)),
        "metadata `a.key` is an array of arrays, expected an array of numbers, booleans or strings"
    );
}

#[test]
fn names_are_neither_empty_nor_long_nor_double() {
    let mut file = Writer::new();
    file.u32("", 1);
    assert_eq!(refusal(&file), "metadata key number 0 has a name of 0 bytes, expected 1 to 65535");

    let mut file = sample();
    file.tensors[1].name = "x".repeat(65);
    assert_eq!(refusal(&file), "tensor number 1 has a name of 65 bytes, expected 1 to 64");

    let mut file = sample();
    file.u32("a.float", 1);
    assert_eq!(refusal(&file), "metadata `a.float` occurs twice");

    let mut file = sample();
    file.tensors[1].name = "first".to_owned();
    assert_eq!(refusal(&file), "tensor `first` occurs twice");
}

#[test]
fn a_name_is_escaped_and_cut_where_it_is_shown() {
    let mut file = Writer::new();
    file.value(&format!("\u{1b}[2J{}", "k".repeat(60_000)), 13, &[]);
    let refused = refusal(&file);
    assert!(refused.starts_with("metadata `\\u{1b}[2Jkkk"), "{refused}");
    assert!(refused.len() < 150, "{refused}");
}

#[test]
fn an_alignment_is_a_power_of_two() {
    for alignment in [0, 3, 48, u32::MAX] {
        let mut file = Writer::new();
        file.u32("general.alignment", alignment);
        assert_eq!(
            refusal(&file),
            format!("metadata `general.alignment` is {alignment}, expected a power of two")
        );
    }
    let mut file = Writer::new();
    file.string("general.alignment", "32");
    assert_eq!(
        refusal(&file),
        "metadata `general.alignment` is a string, expected an integer from 0 to 4294967295"
    );
    let mut file = Writer { alignment: 64, ..Writer::new() };
    file.u32("general.alignment", 64);
    file.tensor("a", &[3], 0, vec![1; 12]);
    file.tensor("b", &[3], 0, vec![2; 12]);
    let header = parse(&file).unwrap();
    assert_eq!(file.finish()[header.tensors[1].bytes.clone()], [2; 12]);
}

#[test]
fn wrong_shapes_are_named_by_their_tensor() {
    let shape = |dimensions: &[u64], code| {
        let mut file = Writer::new();
        file.tensor("t", dimensions, code, vec![0; 64]);
        refusal(&file)
    };
    assert_eq!(shape(&[], 0), "tensor `t` has 0 dimensions, expected 1 to 4");
    assert_eq!(shape(&[1; 5], 0), "tensor `t` has 5 dimensions, expected 1 to 4");
    assert_eq!(shape(&[4, 0], 0), "tensor `t` has the shape [4, 0], expected no dimension to be 0");
    assert_eq!(
        shape(&[1 << 32, 1 << 32], 0),
        "tensor `t` has the shape [4294967296, 4294967296], whose size does not fit into 64 bits"
    );
    assert_eq!(
        shape(&[1 << 62], 28),
        "tensor `t` has the shape [4611686018427387904], whose size does not fit into 64 bits"
    );
    assert_eq!(
        shape(&[33, 2], 3),
        "tensor `t` has rows of 33 elements, expected a multiple of 32, the block of Q4_1"
    );
    for removed in [4, 5, 31, 255, u32::MAX] {
        assert_eq!(
            shape(&[1], removed),
            format!(
                "tensor `t` has element type {removed}, which ggml does not define or no longer has"
            )
        );
    }
}

#[test]
fn bytes_of_tensors_are_in_the_file_aligned_and_apart() {
    let offset = |offset| {
        let mut file = sample();
        file.tensors[1].offset = Some(offset);
        refusal(&file)
    };
    assert_eq!(offset(0), "tensors `first` and `second` overlap in the file");
    assert_eq!(
        offset(33),
        "tensor `second` has offset 33, expected a multiple of the alignment 32"
    );
    for beyond in [96, u64::MAX - 31] {
        assert_eq!(
            offset(beyond),
            format!(
                "tensor `second` takes 12 bytes at offset {beyond}, \
                 but the data of the file has 96 bytes"
            )
        );
    }
}

#[test]
fn a_million_keys_are_refused_at_once() {
    let mut file = Writer::new();
    file.keys = (0..1_000_000).map(|key| (format!("k{key}"), vec![0, 0, 0, 0, 1])).collect();
    assert_eq!(refusal(&file), "the header counts 1000000 metadata keys, expected at most 65536");
}

#[test]
fn values_are_read_as_what_they_are_alone() {
    let header = parse(&sample()).unwrap();
    let refused = |error: Result<_, engine_model::GgufError>| error.unwrap_err().to_string();
    let metadata = &header.metadata;
    assert_eq!(
        refused(metadata.u32("a.negative").map(drop)),
        "metadata `a.negative` is a negative integer, expected an integer from 0 to 4294967295"
    );
    assert_eq!(
        refused(metadata.u32("a.wide").map(drop)),
        "metadata `a.wide` is an integer, expected an integer from 0 to 4294967295"
    );
    assert_eq!(
        refused(metadata.strings("a.integers").map(drop)),
        "metadata `a.integers` is an array of integers, expected an array of strings"
    );
    assert_eq!(
        refused(metadata.string("a.float").map(drop)),
        "metadata `a.float` is a floating-point number, expected a string"
    );
}
