//! Hugging Face folders.

use std::fs;
use std::path::Path;

use engine_model::Checkpoint;
use serde_json::json;
use tempfile::TempDir;

use crate::tiny::{Listed, config, index, read, safetensors, tensors, write};

const FIRST: &str = "model-00001-of-00002.safetensors";
const SECOND: &str = "model-00002-of-00002.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A folder with all tensors in one file.
fn whole() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder for the files");
    write(folder.path(), "config.json", config().to_string());
    write(folder.path(), "model.safetensors", safetensors(&tensors()));
    folder
}

/// A folder with the tensors in two files.
fn sharded() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder for the files");
    let all = tensors();
    let (first, second) = all.split_at(9);
    write(folder.path(), "config.json", config().to_string());
    write(folder.path(), FIRST, safetensors(first));
    write(folder.path(), SECOND, safetensors(second));
    write(folder.path(), INDEX, index(&[(FIRST, first), (SECOND, second)]).to_string());
    folder
}

fn assert_holds(checkpoint: &Checkpoint, expected: &[Listed]) {
    assert_eq!(checkpoint.tensors().len(), expected.len());
    for (found, expected) in checkpoint.tensors().iter().zip(expected) {
        let shape: Vec<_> = found.dimensions.iter().rev().copied().collect();
        assert_eq!((&found.name, &shape), (&expected.name, &expected.shape));
        assert_eq!(found.element.name, expected.dtype);
        assert_eq!(*checkpoint.bytes(found).expect("mapped"), expected.data, "{}", found.name);
    }
    let bytes: usize = expected.iter().map(|tensor| tensor.data.len()).sum();
    assert_eq!(checkpoint.tensor_bytes(), bytes as u64);
}

fn refusal(folder: &TempDir) -> String {
    read(folder.path()).expect_err("a wrong folder")
}

#[test]
fn a_folder_is_read_as_it_was_written() {
    let folder = whole();
    for path in ["", "config.json", "model.safetensors"] {
        let checkpoint = read(&folder.path().join(path)).unwrap();
        assert_holds(&checkpoint, &tensors());
        assert_eq!(checkpoint.format(), "safetensors");
    }
}

#[test]
fn shards_are_read_as_one() {
    let folder = sharded();
    for path in ["", INDEX, SECOND] {
        let checkpoint = read(&folder.path().join(path)).unwrap();
        assert_holds(&checkpoint, &tensors());
        assert_eq!(checkpoint.format(), "safetensors, 2 parts");
    }
}

#[test]
fn a_missing_file_is_named() {
    for (folder, file) in
        [(whole(), "config.json"), (whole(), "model.safetensors"), (sharded(), SECOND)]
    {
        fs::remove_file(folder.path().join(file)).unwrap();
        assert_eq!(refusal(&folder), format!("`{file}`: it is missing"));
    }
    assert_eq!(
        read(Path::new("/nowhere/model.safetensors")).unwrap_err(),
        "`config.json`: it is missing"
    );
}

#[test]
fn an_index_says_what_its_shards_say() {
    let all = tensors();
    let (first, second) = all.split_at(9);
    let folder = sharded();
    let name = &second[0].name;
    let set = |index: serde_json::Value| write(folder.path(), INDEX, index.to_string());

    set(index(&[(FIRST, first), (SECOND, &second[1..])]));
    assert_eq!(
        refusal(&folder),
        format!("`{SECOND}`: tensor `{name}` is in it, but the index does not list it")
    );
    set(index(&[(FIRST, &all[..10]), (SECOND, &second[1..])]));
    assert_eq!(
        refusal(&folder),
        format!("`{SECOND}`: tensor `{name}` is in it, but the index says that it is in `{FIRST}`")
    );
    let more = Listed { name: "more".to_owned(), ..second[0].clone() };
    set(index(&[(FIRST, first), (SECOND, second), (SECOND, &[more])]));
    assert_eq!(
        refusal(&folder),
        format!("`{SECOND}`: tensor `more` is not in it, although the index says so")
    );
    // A tensor in two shards is no other tensor for being in an index.
    set(index(&[(FIRST, first), (SECOND, second)]));
    write(folder.path(), SECOND, safetensors(&all[8..]));
    assert_eq!(
        refusal(&folder),
        format!("`{SECOND}`: tensor `{}` occurs twice, first in `{FIRST}`", all[8].name)
    );
}

#[test]
fn an_index_leads_nowhere_else() {
    let folder = sharded();
    let set = |index: serde_json::Value| write(folder.path(), INDEX, index.to_string());
    for shard in ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "pytorch_model.bin", ""] {
        set(json!({"weight_map": {"a.weight": shard}}));
        assert_eq!(
            refusal(&folder),
            format!(
                "`{INDEX}`: tensor `a.weight` is said to be in `{shard}`, \
                 expected the name of a file beside the index"
            )
        );
    }
    let cases = [
        (json!({}), "`weight_map` is missing, expected an object of file names"),
        (json!({"weight_map": []}), "`weight_map` is an array, expected an object of file names"),
        (json!({"weight_map": {"a": 1}}), "`a` is an integer, expected the name of a file"),
        (json!([]), "it is malformed: it is not an object"),
    ];
    for (wrong, expected) in cases {
        set(wrong);
        assert_eq!(refusal(&folder), format!("`{INDEX}`: {expected}"));
    }
    write(folder.path(), INDEX, r#"{"weight_map": {"a": "b", "a": "c"}}"#);
    assert_eq!(
        refusal(&folder),
        format!("`{INDEX}`: it is malformed: `a` occurs twice at line 1 column 29")
    );
}

#[test]
fn a_config_that_contradicts_the_tensors_is_refused() {
    let folder = whole();
    let change = |key: &str, value: serde_json::Value| {
        let mut config = config();
        config[key] = value;
        write(folder.path(), "config.json", config.to_string());
        refusal(&folder)
    };
    assert_eq!(
        change("hidden_size", json!(128)),
        "tensor `model.embed_tokens.weight` has the shape [64, 40], \
         expected [128, 40] by the metadata"
    );
    assert_eq!(
        change("num_hidden_layers", json!(3)),
        "tensor `model.layers.2.input_layernorm.weight` is missing, expected the shape [64]"
    );
    assert_eq!(
        change("num_hidden_layers", json!("2")),
        "`config.json`: `num_hidden_layers` is a string, \
         expected an integer from 0 to 4294967295"
    );
    assert_eq!(
        change("num_attention_heads", json!(null)),
        "metadata `num_attention_heads` is missing, expected an integer"
    );
    let refused = change("model_type", json!("mamba2"));
    assert!(
        refused.starts_with("metadata `model_type` is `mamba2`, which is not supported;"),
        "{refused}"
    );
}

#[test]
fn tensors_without_a_place_are_named() {
    let folder = whole();
    let mut all = tensors();
    all.push(Listed { name: "model.layers.0.mlp.bias".to_owned(), ..all[1].clone() });
    write(folder.path(), "model.safetensors", safetensors(&all));
    let refused = refusal(&folder);
    assert!(refused.starts_with("tensor `model.layers.0.mlp.bias` of shape [64]"), "{refused}");
}
