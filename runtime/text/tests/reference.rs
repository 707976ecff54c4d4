//! Token ids compared with those that Hugging Face's Python library gives; see `reference/tokens.py`.

use std::collections::BTreeMap;

use runtime_text::{TokenKind, Tokenizer, Vocabulary};
use serde::Deserialize;

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
    serde_json::from_str(include_str!("reference/tokens.json")).unwrap()
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
    .unwrap()
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
    // Six control characters and the last planes have bytes without a token; control tokens no text.
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
