//! Each thing that a safetensors file can get wrong, and the sentence that says so.

use engine_model::parse_safetensors;
use serde_json::{Value, json};

use crate::tiny::framed;

/// The refusal of a file with one tensor `t`, whose description is this, and 16 bytes of data.
fn described(description: &Value) -> String {
    refusal(&json!({"t": description}).to_string(), &[0; 16])
}

fn refusal(header: &str, data: &[u8]) -> String {
    parse_safetensors(&framed(header, data)).expect_err("a wrong file").to_string()
}

fn tensor(dtype: &str, shape: &[u64], offsets: &[u64]) -> Value {
    json!({"dtype": dtype, "shape": shape, "data_offsets": offsets})
}

#[test]
fn what_the_format_leaves_open_is_read() {
    let header = json!({
        "second": tensor("F16", &[2, 3], &[4, 16]),
        "__metadata__": {"a": "b"},
        "scalar": tensor("F32", &[], &[0, 4]),
    });
    // Headers are often padded with spaces.
    let file = framed(&format!("{header}   "), &[0; 20]);
    let start = file.len() - 20;
    let tensors = parse_safetensors(&file).unwrap();
    let scalar = tensors.iter().find(|tensor| tensor.name == "scalar").unwrap();
    assert_eq!((&scalar.dimensions[..], &scalar.bytes), (&[1][..], &(start..start + 4)));
    let second = tensors.iter().find(|tensor| tensor.name == "second").unwrap();
    assert_eq!((&second.dimensions[..], &second.bytes), (&[3, 2][..], &(start + 4..start + 16)));
    assert!(parse_safetensors(&framed("{}", &[])).unwrap().is_empty());
}

#[test]
fn headers_are_in_the_file_and_have_an_end() {
    let refused = |file: &[u8]| parse_safetensors(file).unwrap_err().to_string();
    assert_eq!(refused(b""), "its header takes 8 bytes, but the file has 0");
    assert_eq!(refused(&[2, 0, 0, 0, 0, 0, 0]), "its header takes 8 bytes, but the file has 7");
    let long = [&9_u64.to_le_bytes()[..], b"{}"].concat();
    assert_eq!(refused(&long), "its header takes 17 bytes, but the file has 10");
    for length in [(32 << 20) + 1, u64::MAX] {
        let file = [&length.to_le_bytes()[..], b"{}"].concat();
        let expected = format!("its header has {length} bytes, expected at most 33554432");
        assert_eq!(refused(&file), expected);
    }
    assert!(refusal("[]", &[]).starts_with("it is malformed: invalid type: sequence"));
    assert!(refusal("{}{}", &[]).contains("trailing characters"));
    assert!(refusal("", &[]).contains("EOF while parsing"));
    assert!(refusal("{\"a\": \"\u{1}\"}", &[]).contains("control character"));
}

#[test]
fn types_are_refused_by_their_name() {
    for dtype in ["F64", "I8", "F8_E4M3", "F8_E8M0", "U8", "BOOL", "I64", "f32", "Q4_0", ""] {
        assert_eq!(
            described(&tensor(dtype, &[4], &[0, 16])),
            format!("tensor `t` has elements of type `{dtype}`, expected one of F32, F16, BF16")
        );
    }
}

#[test]
fn descriptions_are_whole_and_of_the_right_types() {
    let cases = [
        (json!([]), "`t` is an array, expected an object"),
        (json!({"shape": []}), "`t.dtype` is missing, expected what the format asks for"),
        (
            json!({"dtype": "F32", "shape": []}),
            "`t.data_offsets` is missing, expected what the format asks for",
        ),
        (
            json!({"dtype": 1, "shape": [], "data_offsets": [0, 4]}),
            "`t.dtype` is an integer, expected a string",
        ),
        (
            json!({"dtype": "F32", "shape": 4, "data_offsets": [0, 4]}),
            "`t.shape` is an integer, expected an array of integers",
        ),
        (
            json!({"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}),
            "`t.shape` is an array of something else, expected an array of integers",
        ),
        (
            json!({"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}),
            "`t.shape` is an array of something else, expected an array of integers",
        ),
        (
            json!({"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}),
            "`t.data_offsets` is an array, expected two offsets",
        ),
    ];
    for (description, expected) in cases {
        assert_eq!(described(&description), expected);
    }
}

#[test]
fn shapes_can_be_counted() {
    assert_eq!(
        described(&tensor("F32", &[1; 5], &[0, 4])),
        "tensor `t` has 5 dimensions, expected at most 4"
    );
    for shape in [vec![4, 0], vec![1 << 32, 1 << 31], vec![1 << 62]] {
        assert_eq!(
            described(&tensor("F32", &shape, &[0, 16])),
            format!(
                "tensor `t` has the shape {shape:?}, \
                 expected sizes whose product is not 0 and fits"
            )
        );
    }
}

#[test]
fn bytes_are_in_the_file_and_those_of_the_shape() {
    for (begin, end) in [(0, 17), (12, 28), (16, 0), (u64::MAX - 3, u64::MAX), (0, u64::MAX)] {
        assert_eq!(
            described(&tensor("F32", &[4], &[begin, end])),
            format!(
                "tensor `t` is said to be at {begin} to {end}, \
                 but the data of the file has 16 bytes"
            )
        );
    }
    assert_eq!(
        described(&tensor("F32", &[3], &[0, 16])),
        "tensor `t` has 16 bytes, expected 12 by its shape and type"
    );
    assert_eq!(
        described(&tensor("BF16", &[4], &[4, 4])),
        "tensor `t` has 0 bytes, expected 8 by its shape and type"
    );
}

#[test]
fn tensors_are_apart_and_have_names_of_their_own() {
    let overlapping = json!({"a": tensor("F32", &[2], &[0, 8]), "b": tensor("F32", &[1], &[4, 8])});
    assert_eq!(refusal(&overlapping.to_string(), &[0; 8]), "tensors `a` and `b` overlap");
    let listed = tensor("F32", &[1], &[0, 4]);
    let twice = format!(r#"{{"a": {listed}, "a": {listed}}}"#);
    assert_eq!(refusal(&twice, &[0; 8]), "it is malformed: `a` occurs twice");
    let inside = r#"{"a": {"dtype": "F32", "dtype": "F16", "shape": [], "data_offsets": [0, 4]}}"#;
    assert!(refusal(inside, &[0; 8]).contains("`dtype` occurs twice"));
}

#[test]
fn false_counts_cost_nothing() {
    // Every one of them is refused where it stands: nothing is kept of what cannot be.
    let many = format!("{{\"__metadata__\": [{}0]}}", "0,".repeat(1 << 20));
    assert!(refusal(&many, &[]).contains("more values than"));
    let deep = format!("{{\"a\": {}", "{\"a\":".repeat(1 << 18));
    assert!(refusal(&deep, &[]).contains("recursion limit"));
}

#[test]
fn there_are_no_more_tensors_than_any_model_has() {
    let one = |index: usize| {
        let (begin, end) = (4 * index, 4 * index + 4);
        format!(r#""{index}":{{"dtype":"F32","shape":[1],"data_offsets":[{begin},{end}]}}"#)
    };
    let header = |count| format!("{{{}}}", (0..count).map(one).collect::<Vec<_>>().join(","));
    let most = 1 << 16;
    assert_eq!(parse_safetensors(&framed(&header(most), &vec![0; 4 * most])).unwrap().len(), most);
    assert_eq!(
        refusal(&header(most + 1), &vec![0; 4 * most + 4]),
        "it has more than 65536 tensors, expected at most as many"
    );
}
