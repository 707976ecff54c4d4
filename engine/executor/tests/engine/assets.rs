//! What a file says about text, and the summary for a person.

use engine::{ModelFile, SamplingDefaults, TextAssets, TokenizerAssets, VocabularyAssets};

use crate::blocks::Q8_0;
use crate::tiny::{self, Elements};
use crate::writer::Writer;

fn open(file: &Writer) -> Result<TextAssets, String> {
    let (_folder, path) = tiny::saved(file);
    let file = ModelFile::open(&path).expect("a sound file");
    file.text().map_err(|error| error.to_string())
}

fn vocabulary_of(file: &Writer) -> VocabularyAssets {
    let text = open(file).expect("a right vocabulary");
    let TokenizerAssets::Vocabulary(vocabulary) = text.tokenizer else { panic!("not a file") };
    vocabulary
}

fn vocabulary() -> Writer {
    let mut file = Writer::new();
    file.string("tokenizer.ggml.model", "gpt2");
    file.string("tokenizer.ggml.pre", "smollm");
    file.strings("tokenizer.ggml.tokens", &["<unk>", "a", "b", "ab"]);
    let kinds = [&5_u32.to_le_bytes()[..], &4_u64.to_le_bytes(), &numbers(&[2, 1, 1, 1])].concat();
    file.value("tokenizer.ggml.token_type", 9, &kinds);
    file.strings("tokenizer.ggml.merges", &["a b"]);
    file.u32("tokenizer.ggml.bos_token_id", 1);
    file.u32("tokenizer.ggml.eos_token_id", 2);
    file.u32("tokenizer.ggml.unknown_token_id", 0);
    file.string("tokenizer.chat_template", "{{ messages }}");
    file
}

fn numbers(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn a_vocabulary_is_read_as_the_file_has_it() {
    let expected = VocabularyAssets {
        model: "gpt2".to_owned(),
        pre: Some("smollm".to_owned()),
        tokens: ["<unk>", "a", "b", "ab"].map(str::to_owned).to_vec(),
        kinds: vec![2, 1, 1, 1],
        merges: vec!["a b".to_owned()],
        bos: Some(1),
        eos: Some(2),
        unknown: Some(0),
        ..VocabularyAssets::default()
    };
    let expected = TextAssets {
        tokenizer: TokenizerAssets::Vocabulary(expected),
        chat_template: Some("{{ messages }}".to_owned()),
        sampling: SamplingDefaults::default(),
    };
    assert_eq!(open(&vocabulary()), Ok(expected));
    assert_eq!(open(&Writer::new()), Ok(TextAssets::default()));
}

#[test]
fn sentence_pieces_begin_with_bos_and_a_space_unless_told() {
    let mut file = Writer::new();
    file.string("tokenizer.ggml.model", "llama");
    let text = vocabulary_of(&file);
    assert!(text.add_bos && text.add_space_prefix);
    file.value("tokenizer.ggml.add_bos_token", 7, &[0]);
    let text = vocabulary_of(&file);
    assert!(!text.add_bos && text.add_space_prefix);
}

#[test]
fn what_a_vocabulary_gets_wrong_is_named() {
    let mut file = vocabulary();
    file.u32("tokenizer.ggml.eot_token_id", 4);
    assert_eq!(
        open(&file).unwrap_err(),
        "metadata `tokenizer.ggml.eot_token_id` is 4, expected an id below 4, the number of tokens"
    );
    let mut file = vocabulary();
    let scores = [&6_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &[0; 4]].concat();
    file.value("tokenizer.ggml.scores", 9, &scores);
    assert_eq!(
        open(&file).unwrap_err(),
        "metadata `tokenizer.ggml.scores` is an array of 1, expected 4 values, one for each token"
    );
    let mut file = Writer::new();
    file.u32("tokenizer.ggml.tokens", 4);
    assert_eq!(
        open(&file).unwrap_err(),
        "metadata `tokenizer.ggml.tokens` is an integer, expected an array of strings"
    );
}

#[test]
fn a_summary_says_what_a_model_is_and_takes() {
    let mut model = tiny::tiny(Elements::all(Q8_0), 1);
    model.string("tokenizer.chat_template", "");
    let (_folder, path) = tiny::saved(&model);
    let file = ModelFile::open(&path).unwrap();
    assert_eq!((file.name(), file.context()), (Some("Tiny".to_owned()), tiny::CONTEXT));
    let summary = file.summary().to_string();
    for line in [
        "name            Tiny",
        "architecture    llama",
        "format          GGUF version 3",
        "parameters      1,257,728, 1,257,728 active",
        "context         192 tokens",
        "chat template   yes",
        "  F32               5 tensors, 0.0 MiB",
        "  Q8_0             15 tensors, 1.3 MiB",
        "layers          2, 256 wide",
        "feed-forward    512 wide in 2 layers",
        "heads           4 of 64, 2 for keys and values",
        "output          tied to the embedding",
    ] {
        assert!(summary.lines().any(|found| found == line), "no line `{line}` in\n{summary}");
    }
    assert!(summary.contains("for 1 sequence of 192 tokens"), "{summary}");
    assert!(summary.contains("for 16 sequences of 192 tokens"), "{summary}");
    assert!(!summary.contains("cannot run"), "{summary}");
    let told = file.summary().for_load(3, 100).to_string();
    assert!(told.contains("1.6 MiB for 3 sequences of 100 tokens, 0.3 MiB of it cache"), "{told}");
    let told = file.summary().for_load(1, 1 << 40).to_string();
    assert!(told.contains("for 1 sequence of 192 tokens"), "{told}");
}
