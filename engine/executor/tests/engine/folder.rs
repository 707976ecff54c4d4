//! What a Hugging Face folder says about text. Its tensors are of no concern here, so there are
//! none.

use std::path::Path;

use engine::{ModelFile, SamplingDefaults, TextAssets, TokenizerAssets, TokenizerFile};
use serde_json::{Value, json};
use tempfile::TempDir;

fn folder(files: &[(&str, Value)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder for the files");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("room for the file");
    };
    write("model.safetensors", "\u{2}\0\0\0\0\0\0\0{}");
    write("config.json", r#"{"model_type": "qwen3", "eos_token_id": 9}"#);
    write("tokenizer.json", "{}");
    for (name, content) in files {
        write(name, content.as_str().unwrap_or(&content.to_string()));
    }
    folder
}

fn read(folder: &TempDir) -> Result<TextAssets, String> {
    let file = ModelFile::open(folder.path()).expect("sound files");
    file.text().map_err(|error| error.to_string())
}

fn tokenizer(text: TextAssets) -> TokenizerFile {
    let TokenizerAssets::File(file) = text.tokenizer else { panic!("a file") };
    file
}

#[test]
fn a_folder_s_files_are_read_together() {
    let folder = folder(&[
        (
            "tokenizer_config.json",
            json!({
                "bos_token": {"content": "<s>", "lstrip": false},
                "eos_token": "</s>",
                "add_bos_token": true,
                "chat_template": "in the configuration",
            }),
        ),
        (
            "generation_config.json",
            json!({
                "eos_token_id": [3, 4],
                "temperature": 0.7, "top_k": 20, "top_p": 0.8, "min_p": 0,
                "repetition_penalty": 1.05,
            }),
        ),
    ]);
    let expected = TextAssets {
        tokenizer: TokenizerAssets::File(TokenizerFile {
            path: folder.path().join("tokenizer.json"),
            bos: Some("<s>".to_owned()),
            eos: Some("</s>".to_owned()),
            add_bos: Some(true),
            ends: vec![3, 4],
        }),
        chat_template: Some("in the configuration".to_owned()),
        sampling: SamplingDefaults {
            temperature: Some(0.7),
            top_k: Some(20),
            top_p: Some(0.8),
            min_p: Some(0.0),
            repetition_penalty: Some(1.05),
        },
    };
    assert_eq!(read(&folder), Ok(expected));
}

#[test]
fn what_is_not_said_is_left_open() {
    let text = read(&folder(&[])).unwrap();
    assert_eq!((&text.chat_template, text.sampling), (&None, SamplingDefaults::default()));
    let file = tokenizer(text);
    assert_eq!((file.bos, file.eos, file.add_bos), (None, None, None));
    // The model's own configuration stands in for one of generation.
    assert_eq!(file.ends, [9]);
    let nothing = json!({"bos_token": null, "chat_template": null, "add_bos_token": null});
    let text = read(&folder(&[("tokenizer_config.json", nothing)])).unwrap();
    assert_eq!((text.chat_template.clone(), tokenizer(text).bos), (None, None));
    let one = json!({"eos_token_id": 5});
    let text = read(&folder(&[("generation_config.json", one)])).unwrap();
    assert_eq!(tokenizer(text).ends, [5]);
    let none = json!({"eos_token_id": []});
    let text = read(&folder(&[("generation_config.json", none)])).unwrap();
    assert!(tokenizer(text).ends.is_empty());
}

#[test]
fn of_several_templates_one_counts() {
    let list = json!({"chat_template": [
        {"name": "tool_use", "template": "tools"},
        {"name": "default", "template": "plain"},
    ]});
    let text = read(&folder(&[("tokenizer_config.json", list.clone())])).unwrap();
    assert_eq!(text.chat_template.as_deref(), Some("plain"));
    let files =
        [("tokenizer_config.json", list), ("chat_template.jinja", json!("a file of its own"))];
    let text = read(&folder(&files)).unwrap();
    assert_eq!(text.chat_template.as_deref(), Some("a file of its own"));
    let other = json!({"chat_template": [{"name": "tool_use", "template": "tools"}]});
    assert_eq!(read(&folder(&[("tokenizer_config.json", other)])).unwrap().chat_template, None);
}

#[test]
fn what_is_wrong_is_named_with_its_file() {
    let refusal = |name: &str, content: Value| read(&folder(&[(name, content)])).unwrap_err();
    assert_eq!(
        refusal("generation_config.json", json!({"temperature": 3})),
        "`generation_config.json`: `temperature` is 3, expected 0 to 2"
    );
    assert_eq!(
        refusal("generation_config.json", json!({"repetition_penalty": 0})),
        "`generation_config.json`: `repetition_penalty` is 0, expected more than 0, and at most 100"
    );
    assert_eq!(
        refusal("generation_config.json", json!({"top_k": -1})),
        "`generation_config.json`: `top_k` is a negative integer, \
         expected an integer from 0 to 4294967295"
    );
    assert_eq!(
        refusal("generation_config.json", json!({"eos_token_id": "2"})),
        "`generation_config.json`: `eos_token_id` is a string, \
         expected an integer from 0 to 4294967295"
    );
    assert_eq!(
        refusal("generation_config.json", json!({"eos_token_id": ["2"]})),
        "`generation_config.json`: `eos_token_id` is an array, \
         expected an array of integers from 0 to 4294967295"
    );
    assert_eq!(
        refusal("tokenizer_config.json", json!({"eos_token": 2})),
        "`tokenizer_config.json`: `eos_token` is an integer, expected a string"
    );
    let refused = refusal("tokenizer_config.json", json!("{"));
    assert!(refused.starts_with("`tokenizer_config.json`: it is malformed: EOF"), "{refused}");
    assert_eq!(
        refusal("chat_template.jinja", json!("x".repeat((1 << 20) + 1))),
        "`chat_template.jinja`: it has 1048577 bytes, expected at most 1048576"
    );
    let bare = folder(&[]);
    std::fs::remove_file(bare.path().join("tokenizer.json")).unwrap();
    assert_eq!(read(&bare).unwrap_err(), "`tokenizer.json`: it is missing");
    let summary = ModelFile::open(bare.path()).unwrap().summary().to_string();
    assert!(summary.contains("\nchat template   `tokenizer.json`: it is missing\n"), "{summary}");
}

#[test]
fn a_folder_names_its_model() {
    let folder = folder(&[]);
    let inner = folder.path().join("Qwen9-0.6B");
    std::fs::create_dir(&inner).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(folder.path().join(name), inner.join(name)).unwrap();
    }
    for path in [inner.clone(), inner.join("config.json"), inner.join("../Qwen9-0.6B/.")] {
        let file = ModelFile::open(&path).unwrap();
        assert_eq!(file.name().as_deref(), Some("Qwen9-0.6B"));
        assert_eq!(file.stem(), "Qwen9-0.6B");
    }
    assert!(ModelFile::open(Path::new("/nowhere")).is_err());
}
