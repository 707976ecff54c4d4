//! Token ids compared with those that Hugging Face's Python library gives; see
//! `reference/tokens.py`.

use std::collections::BTreeMap;
use std::path::Path;

use runtime_text::{TokenKind, Tokenizer, TokenizerError, Vocabulary};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Reference {
    vocabulary: ReducedVocabulary,
    texts: Vec<String>,
    families: BTreeMap<String, Vec<Vec<u32>>>,
}

#[derive(Deserialize)]
struct ReducedVocabulary {
    tokens: Vec<String>,
    control: Vec<String>,
    merges: Vec<String>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("reference/tokens.json")).expect("tokens.py writes it so")
}

fn tokenizer(reference: &Reference, pre: &str) -> Tokenizer {
    let vocabulary = &reference.vocabulary;
    let kind = |token| match vocabulary.control.contains(token) {
        true => TokenKind::Control,
        false => TokenKind::Normal,
    };
    Tokenizer::from_vocabulary(Vocabulary {
        model: "gpt2".to_owned(),
        pre: Some(pre.to_owned()),
        kinds: vocabulary.tokens.iter().map(kind).collect(),
        tokens: vocabulary.tokens.clone(),
        merges: vocabulary.merges.clone(),
        ..Vocabulary::default()
    })
    .expect("a part of a good vocabulary is one")
}

#[test]
fn every_text_has_the_library_s_tokens_in_every_family() {
    let reference = reference();
    assert_eq!(reference.families.len(), 5);
    for (family, expected) in &reference.families {
        let tokenizer = tokenizer(&reference, family);
        assert_eq!(expected.len(), reference.texts.len());
        for (text, ids) in reference.texts.iter().zip(expected) {
            assert_eq!(&tokenizer.encode_text(text), ids, "{family}: {text:?}");
        }
    }
}

#[test]
fn the_bytes_of_the_tokens_are_the_text() {
    let reference = reference();
    let tokenizer = tokenizer(&reference, "smollm");
    // Six control characters and the last planes have bytes without a token; control tokens no
    // text.
    let lossless = |text: &&String| {
        !text.contains(['\u{1}', '\u{1b}', '\u{10ffff}'])
            && !text.contains("<|")
            && !text.contains("<repo")
    };
    let mut checked = 0;
    for text in reference.texts.iter().filter(lossless) {
        let bytes: Vec<u8> = tokenizer
            .encode_text(text)
            .iter()
            .flat_map(|&id| tokenizer.token_bytes(id).to_vec())
            .collect();
        assert_eq!(String::from_utf8_lossy(&bytes), text.as_str());
        checked += 1;
    }
    assert!(checked > 25, "only {checked} texts were compared");
}

/// A `tokenizer.json` of the reduced vocabulary, with `<|im_start|>` before every text.
fn file(vocabulary: &ReducedVocabulary) -> Value {
    let id = |token: &String| vocabulary.tokens.iter().position(|t| t == token);
    let added = |token: &String| {
        json!({
            "id": id(token), "content": token, "special": true, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false,
        })
    };
    let ids: serde_json::Map<String, Value> =
        vocabulary.tokens.iter().map(|token| (token.clone(), json!(id(token)))).collect();
    let bytes = |use_regex: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": use_regex,
        })
    };
    json!({
        "version": "1.0",
        "added_tokens": vocabulary.control.iter().map(added).collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": true}, bytes(true)],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [],
            "special_tokens": {
                "<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]},
            },
        },
        "decoder": bytes(true),
        "model": {"type": "BPE", "vocab": ids, "merges": vocabulary.merges},
    })
}

fn from_file(json: &Value) -> Result<Tokenizer, TokenizerError> {
    let file = tempfile::NamedTempFile::new().expect("a place for temporary files");
    std::fs::write(file.path(), json.to_string()).expect("room for a file");
    Tokenizer::from_file(file.path())
}

#[test]
fn a_tokenizer_json_says_the_same_as_a_vocabulary() {
    let reference = reference();
    let same = tokenizer(&reference, "smollm");
    let read = from_file(&file(&reference.vocabulary)).unwrap();
    assert_eq!(read.vocab_size(), same.vocab_size());
    assert_eq!(read.end_tokens(), same.end_tokens());
    assert_eq!(read.special_tokens().control, same.special_tokens().control);
    assert_eq!(read.special_tokens().bos, "<|im_start|>");
    for id in 0..=read.vocab_size() as u32 {
        assert_eq!(read.token_bytes(id), same.token_bytes(id), "{id}");
        assert_eq!(read.is_control(id), same.is_control(id), "{id}");
    }
    for (text, ids) in reference.texts.iter().zip(&reference.families["smollm"]) {
        let mut expected = ids.clone();
        if expected.first() != Some(&1) {
            expected.insert(0, 1);
        }
        assert_eq!(read.encode_text(text), expected, "{text:?}");
    }
}

#[test]
fn a_file_that_is_no_usable_tokenizer_json_is_refused() {
    let good = file(&reference().vocabulary);
    let refused = |change: &dyn Fn(&mut Value), message: &str| {
        let mut json = good.clone();
        change(&mut json);
        let error = from_file(&json).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    };
    refused(&|json| *json = json!([]), "is not a tokenizer.json");
    refused(&|json| json["model"]["merges"] = json!(["no such"]), "is not a tokenizer.json");
    refused(&|json| json["model"]["vocab"]["far"] = json!(u32::MAX), "but an id of 4294967295");
    refused(&|json| json["model"]["unk_token"] = json!("<oh>"), "unknown token \"<oh>\"");
    refused(&|json| json["decoder"] = json!({"type": "Fuse"}), "decoder \"Fuse\"");
    refused(&|json| json["decoder"] = Value::Null, "decoder \"\"");
    let after = json!([
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}},
    ]);
    refused(&|json| json["post_processor"]["single"] = after.clone(), "post-processor");
    let word_level = json!({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"});
    refused(&|json| json["model"] = word_level.clone(), "tokenizer model \"WordLevel\"");
    let error = Tokenizer::from_file(Path::new("/no/such/tokenizer.json")).unwrap_err();
    assert!(error.to_string().starts_with("/no/such/tokenizer.json"), "{error}");
}
