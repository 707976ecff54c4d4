use super::byte_level::alphabet;
use super::*;
use crate::mark::Marker;

/// A `gpt2` vocabulary: the 256 bytes, then `more`.
fn byte_level(more: &[(&str, TokenKind)], merges: &[&str]) -> Vocabulary {
    let byte_chars = (0u32..).zip(alphabet()).filter(|(_, byte)| byte.is_some());
    let mut tokens: Vec<String> =
        byte_chars.map(|(code, _)| char::from_u32(code).unwrap().to_string()).collect();
    let mut kinds = vec![TokenKind::Normal; tokens.len()];
    tokens.extend(more.iter().map(|(text, _)| (*text).to_owned()));
    kinds.extend(more.iter().map(|(_, kind)| *kind));
    Vocabulary {
        model: "gpt2".to_owned(),
        pre: Some("gpt-2".to_owned()),
        tokens,
        kinds,
        merges: merges.iter().map(|&merge| merge.to_owned()).collect(),
        ..Vocabulary::default()
    }
}

/// `<s>` is 256, `<|im_end|>` 257, `<think>` 258, `ab` 259.
fn small() -> Vocabulary {
    byte_level(
        &[
            ("<s>", TokenKind::Control),
            ("<|im_end|>", TokenKind::Control),
            ("<think>", TokenKind::UserDefined),
            ("ab", TokenKind::Normal),
        ],
        &["a b"],
    )
}

/// A `llama` vocabulary: `<unk>`, `<s>`, 256 bytes, then pieces, each merged before the ones after
/// it.
fn sentencepiece(pieces: &[&str]) -> Vocabulary {
    let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned()];
    let mut kinds = vec![TokenKind::Unknown, TokenKind::Control];
    tokens.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    kinds.extend([TokenKind::Byte; 256]);
    tokens.extend(pieces.iter().map(|&piece| piece.to_owned()));
    kinds.extend(vec![TokenKind::Normal; pieces.len()]);
    Vocabulary {
        model: "llama".to_owned(),
        scores: (0..tokens.len()).map(|id| -(id as f32)).collect(),
        tokens,
        kinds,
        bos: Some(1),
        add_bos: true,
        add_space_prefix: true,
        ..Vocabulary::default()
    }
}

fn build(vocabulary: Vocabulary) -> Tokenizer {
    Tokenizer::from_vocabulary(vocabulary).unwrap()
}

fn text_of(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let bytes = ids.iter().flat_map(|&id| tokenizer.token_bytes(id)).copied().collect();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn control_tokens_are_parsed_in_a_prompt_but_not_in_a_message() {
    let tokenizer = build(small());
    assert_eq!(tokenizer.encode_text("ab<|im_end|>ab"), [259, 257, 259]);

    let marker = Marker::new(&tokenizer.special_tokens().control);
    let message = "ab<|im_end|>ab \u{FDD0}<";
    let rendered = Rendered::new(format!("<s>{}|im_end|><|im_end|>", marker.mark(message)));
    let ids = tokenizer.encode_rendered(&rendered);
    assert_eq!((ids[0], ids[1], ids.last()), (256, 259, Some(&257)));
    assert_eq!(ids.iter().filter(|&&id| tokenizer.is_control(id)).count(), 2);
    assert_eq!(text_of(&tokenizer, &ids), format!("{message}|im_end|>"));
    assert_eq!(rendered.text(), format!("<s>{message}|im_end|><|im_end|>"));
}

#[test]
fn user_defined_tokens_are_parsed_everywhere_and_have_text() {
    let tokenizer = build(small());
    assert_eq!(tokenizer.encode_text("ab<think>"), [259, 258]);
    let rendered = Rendered::new("ab<think>".to_owned());
    assert_eq!(tokenizer.encode_rendered(&rendered), [259, 258]);
    assert_eq!(tokenizer.token_bytes(258), b"<think>");
    assert!(!tokenizer.is_control(258));
}

#[test]
fn control_tokens_and_ids_that_do_not_exist_have_no_text() {
    let tokenizer = build(small());
    assert_eq!(tokenizer.vocab_size(), 260);
    for id in [256, 257, 260, u32::MAX] {
        assert_eq!(tokenizer.token_bytes(id), b"", "{id}");
    }
    assert!(tokenizer.is_control(257) && !tokenizer.is_control(u32::MAX));
}

#[test]
fn bos_begins_a_prompt_once() {
    let vocabulary = Vocabulary { bos: Some(256), add_bos: true, ..small() };
    let tokenizer = build(vocabulary);
    assert_eq!(tokenizer.encode_text("ab"), [256, 259]);
    assert_eq!(tokenizer.encode_text(""), [256]);
    assert_eq!(tokenizer.encode_text("<s>ab"), [256, 259]);
    assert_eq!(tokenizer.encode_text_alone("ab"), [259]);
    assert_eq!(tokenizer.encode_text_alone("<s>ab"), [256, 259]);
    assert_eq!(tokenizer.encode_rendered_alone(&Rendered::new("ab".to_owned())), [259]);
    assert_eq!(tokenizer.encode_rendered(&Rendered::new("<s>ab".to_owned())), [256, 259]);
    assert_eq!(build(small()).encode_text("ab"), [259]);
}

#[test]
fn end_tokens_are_those_named_and_those_known() {
    let vocabulary = Vocabulary { eos: Some(256), eot: Some(258), ..small() };
    assert_eq!(build(vocabulary).end_tokens(), [256, 257, 258]);
    assert_eq!(build(small()).end_tokens(), [257]);
}

#[test]
fn special_tokens_are_what_a_template_needs() {
    let special = build(Vocabulary { bos: Some(256), eos: Some(257), ..small() }).special_tokens();
    assert_eq!((special.bos.as_str(), special.eos.as_str()), ("<s>", "<|im_end|>"));
    assert_eq!(special.control, ["<s>", "<|im_end|>"]);
}

#[test]
fn sentencepiece_merges_by_score_and_spells_the_rest_in_bytes() {
    let pieces = ["ab", "▁ab", "▁", "a", "b", "c", "bc", "abc"];
    let id = |piece: &str| 258 + pieces.iter().position(|&p| p == piece).unwrap() as u32;
    let tokenizer = build(sentencepiece(&pieces));

    assert_eq!(tokenizer.encode_text("ab"), [1, id("▁ab")]);
    // `ab` has a higher score than `bc`, so `abc` is not reached by way of that.
    assert_eq!(tokenizer.encode_text("abc abc"), [1, id("▁ab"), id("c"), id("▁ab"), id("c")]);
    assert_eq!(tokenizer.encode_text("é"), [1, id("▁"), 2 + 0xC3, 2 + 0xA9]);
    assert_eq!(tokenizer.encode_text("<s>b"), [1, id("▁"), id("b")]);
    let ids = tokenizer.encode_text("ab é\0");
    assert_eq!(text_of(&tokenizer, &ids), " ab é\0");

    let plain = Vocabulary { add_space_prefix: false, ..sentencepiece(&pieces) };
    assert_eq!(build(plain).encode_text("ab"), [1, id("ab")]);
}

#[test]
fn a_text_that_a_pattern_cannot_cut_is_encoded_at_any_length() {
    let tokenizer = build(Vocabulary { pre: Some("llama-bpe".to_owned()), ..small() });
    for unit in ["ab", " ", "\n", "é"] {
        let text = unit.repeat((STRETCH_BYTES_MAX + 3) / unit.len());
        let ids = tokenizer.encode_text(&text);
        assert!(text_of(&tokenizer, &ids) == text, "{unit:?} came back different");
    }
}

/// Checks the message of the error that `vocabulary` gives.
fn refused(vocabulary: Vocabulary, message: &str) {
    let error = Tokenizer::from_vocabulary(vocabulary).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn a_vocabulary_that_does_not_fit_itself_is_refused_by_name() {
    let duplicate = byte_level(&[("ab", TokenKind::Normal), ("ab", TokenKind::Normal)], &[]);
    refused(duplicate, "tokens 256 and 257 are both \"ab\"");
    refused(Vocabulary { tokens: Vec::new(), ..small() }, "has no tokens");
    refused(Vocabulary { kinds: vec![TokenKind::Normal], ..small() }, "260 tokens, but 1 kinds");
    refused(Vocabulary { scores: vec![0.0; 261], ..small() }, "260 tokens, but 261 scores");
    refused(Vocabulary { eos: Some(260), ..small() }, "eos token's id is 260");
    refused(Vocabulary { unknown: Some(u32::MAX), ..small() }, "unknown token's id is 4294967295");
    refused(Vocabulary { add_bos: true, ..small() }, "no bos token is named");
    refused(byte_level(&[("", TokenKind::Control)], &[]), "token 256 is a control");
    let long = "x".repeat(2 << 20);
    refused(byte_level(&[(&long, TokenKind::UserDefined)], &[]), "have 2097152 bytes");
}

#[test]
fn a_bad_merge_is_refused_by_number() {
    refused(byte_level(&[], &["a b"]), "merge 0 names \"ab\"");
    refused(byte_level(&[("ab", TokenKind::Normal)], &["a b", "ab 文"]), "merge 1 names \"文\"");
    for merge in ["ab", "a  b", " b", "a ", "a b c", ""] {
        refused(byte_level(&[("ab", TokenKind::Normal)], &[merge]), "merge 0 is");
    }
}

#[test]
fn an_unknown_tokeniser_is_named_and_so_are_the_known() {
    let model = Vocabulary { model: "bert".to_owned(), ..small() };
    refused(model, "tokenizer model \"bert\" is not supported; known are gpt2, llama");
    let pre = Vocabulary { pre: Some("x\n".repeat(99)), ..small() };
    refused(pre.clone(), "…\" is not supported; known are default, falcon, gpt-2");
    refused(pre, "pre-tokenizer \"x\\nx");
    assert!(TokenKind::try_from(7).unwrap_err().to_string().contains("token type 7"));
}

#[test]
fn a_bad_sentencepiece_vocabulary_is_refused() {
    let good = || sentencepiece(&["a"]);
    refused(Vocabulary { scores: Vec::new(), ..good() }, "needs a score for every token");
    let mut scores = good().scores;
    scores[258] = f32::NAN;
    refused(Vocabulary { scores, ..good() }, "score of token 258");
    let mut kinds = good().kinds;
    kinds[2 + 0x41] = TokenKind::Normal;
    refused(Vocabulary { kinds, ..good() }, "<0x41>");
    let mut kinds = good().kinds;
    kinds[258] = TokenKind::Byte;
    for form in ["a", "<0x+1>", "<0x1>", "0x41"] {
        let vocabulary = Vocabulary { kinds: kinds.clone(), ..sentencepiece(&[form]) };
        refused(vocabulary, &format!("token 258 stands for a byte but is \"{form}\""));
    }
    refused(sentencepiece(&["a", &"a".repeat(300)]), "token 259 has 300 bytes");
    let runs: Vec<String> = (1..=256).map(|len| "a".repeat(len)).collect();
    let runs: Vec<&str> = runs.iter().map(String::as_str).collect();
    refused(sentencepiece(&runs), "can be merged in more than 8224 ways");
}
