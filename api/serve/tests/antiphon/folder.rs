//! Models that are folders, and models that nobody trained.

use std::fs;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::desk::Desk;
use crate::running::Running;
use crate::server::{Answer, Server};

const WIDTH: u64 = 32;
const VOCABULARY: u64 = 260;

fn config() -> Value {
    json!({
        "model_type": "qwen3",
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 4096,
        "hidden_size": WIDTH,
        "num_hidden_layers": 1,
        "intermediate_size": WIDTH,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000,
        "hidden_act": "silu",
        "tie_word_embeddings": true,
    })
}

/// Safetensors files: the embedding in the first, all others in the second.
fn shards() -> [Vec<u8>; 2] {
    let half = WIDTH / 2;
    let layer = [
        ("input_layernorm", vec![WIDTH]),
        ("self_attn.q_proj", vec![WIDTH, WIDTH]),
        ("self_attn.k_proj", vec![half, WIDTH]),
        ("self_attn.v_proj", vec![half, WIDTH]),
        ("self_attn.q_norm", vec![half]),
        ("self_attn.k_norm", vec![half]),
        ("self_attn.o_proj", vec![WIDTH, WIDTH]),
        ("post_attention_layernorm", vec![WIDTH]),
        ("mlp.gate_proj", vec![WIDTH, WIDTH]),
        ("mlp.up_proj", vec![WIDTH, WIDTH]),
        ("mlp.down_proj", vec![WIDTH, WIDTH]),
    ];
    let mut rest: Vec<_> = layer
        .into_iter()
        .map(|(name, shape)| (format!("model.layers.0.{name}.weight"), shape))
        .collect();
    rest.push(("model.norm.weight".to_owned(), vec![WIDTH]));
    let embedding = ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, WIDTH]);
    [safetensors(&[embedding]), safetensors(&rest)]
}

fn safetensors(tensors: &[(String, Vec<u64>)]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    let mut state = 1_u32;
    for (name, shape) in tensors {
        let begin = data.len();
        for _ in 0..shape.iter().product::<u64>() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
            let value = if name.ends_with("norm.weight") { 1.0 } else { noise };
            data.extend(value.to_le_bytes());
        }
        let offsets = [begin, data.len()];
        let listed = json!({"dtype": "F32", "shape": shape, "data_offsets": offsets});
        header.insert(name.clone(), listed);
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

/// A tokenizer of the 256 bytes, and two control tokens; `more` are other tokens.
fn tokenizer(more: usize) -> Value {
    let mut vocabulary = serde_json::Map::new();
    for byte in 0..=255_u8 {
        let prints = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
        let place = 256 + (0..byte).filter(|below| !prints(below)).count() as u32;
        let code = if prints(&byte) { u32::from(byte) } else { place };
        vocabulary.insert(char::from_u32(code).unwrap().to_string(), json!(byte));
    }
    for id in 258..258 + more {
        vocabulary.insert(format!("more{id}"), json!(id));
    }
    let added = |id: u32, content: &str| {
        json!({
            "id": id, "content": content, "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    json!({
        "version": "1.0",
        "added_tokens": [added(256, "<begin>"), added(257, "<end>")],
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    })
}

/// Every file of a repository.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let [first, second] = shards();
    let map: serde_json::Map<_, _> = [("model.embed_tokens.weight", FIRST)]
        .into_iter()
        .map(|(name, file)| (name.to_owned(), json!(file)))
        .chain(names(&second).into_iter().map(|name| (name, json!(SECOND))))
        .collect();
    vec![
        ("README.md", b"read me".to_vec()),
        ("config.json", config().to_string().into_bytes()),
        ("generation_config.json", br#"{"eos_token_id": [257]}"#.to_vec()),
        (FIRST, first),
        (SECOND, second),
        ("model.safetensors.index.json", json!({"weight_map": map}).to_string().into_bytes()),
        ("tokenizer.json", tokenizer(0).to_string().into_bytes()),
        (
            "tokenizer_config.json",
            json!({"eos_token": "<end>", "chat_template": TEMPLATE}).to_string().into_bytes(),
        ),
    ]
}

const FIRST: &str = "model-00001-of-00002.safetensors";
const SECOND: &str = "model-00002-of-00002.safetensors";
const TEMPLATE: &str = "{% for message in messages %}<begin>{{ message['content'] }}<end>\
                        {% endfor %}<begin>";

fn names(safetensors: &[u8]) -> Vec<String> {
    let length = u64::from_le_bytes(safetensors[..8].try_into().unwrap()) as usize;
    let header: serde_json::Map<String, Value> =
        serde_json::from_slice(&safetensors[8..8 + length]).unwrap();
    header.into_iter().map(|(name, _)| name).collect()
}

/// A desk with a folder `tiny` on it.
fn desk_with_folder() -> Desk {
    let desk = Desk::small();
    fs::create_dir(desk.path("tiny")).unwrap();
    for (name, bytes) in files() {
        desk.write(&format!("tiny/{name}"), bytes);
    }
    desk
}

/// A server of the repository `org/tiny`.
fn hub() -> Server {
    Server::start(|asked| {
        let files = files();
        if asked.path == "/api/models/org/tiny" {
            let siblings: Vec<_> =
                files.iter().map(|(name, _)| json!({"rfilename": name})).collect();
            return Answer::new("200 OK", "", json!({"siblings": siblings}).to_string().as_bytes());
        }
        let name = asked.path.strip_prefix("/org/tiny/resolve/main/").unwrap_or_default();
        let Some((_, bytes)) = files.iter().find(|(file, _)| *file == name) else {
            return Answer::new("404 Not Found", "", b"");
        };
        let digest = Sha256::digest(bytes).into_iter().map(|byte| format!("{byte:02x}"));
        let headers = format!("etag: \"{}\"\r\n", digest.collect::<String>());
        Answer::new("200 OK", &headers, bytes)
    })
}

fn chat(server: &Running, model: &str) -> Value {
    let body = json!({
        "model": model, "max_tokens": 8, "temperature": 0,
        "messages": [{"role": "user", "content": "Hello"}],
    });
    let answer = server.answer("POST /v1/chat/completions", &body.to_string());
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    serde_json::from_str(answer.split("\r\n\r\n").last().unwrap()).unwrap()
}

#[test]
fn a_folder_is_served_and_inspected() {
    let desk = desk_with_folder();
    let server = Running::start(&desk, "tiny", &[]);
    assert!(server.said[0].starts_with("serving tiny on "), "{:?}", server.said);
    let answer = chat(&server, "tiny");
    // `Hello` between `<begin>` and `<end>`, and the `<begin>` of the answer.
    assert_eq!(answer["usage"]["prompt_tokens"], 8, "{answer}");
    let outcome = desk.run(&["inspect", "tiny"]);
    for line in ["name            tiny", "format          safetensors, 2 parts"] {
        assert!(outcome.out.lines().any(|found| found == line), "{outcome:?}");
    }
}

#[test]
fn a_folder_says_how_tokens_are_drawn_where_a_request_does_not() {
    let desk = desk_with_folder();
    let said = r#"{"eos_token_id": 257, "temperature": 0.0, "repetition_penalty": 3.0}"#;
    desk.write("tiny/generation_config.json", said);
    let server = Running::start(&desk, "tiny", &[]);
    let text = |more: Value| {
        let mut body = json!({"model": "tiny", "prompt": "x", "max_tokens": 32});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = server.answer("POST /v1/completions", &body.to_string());
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let body: Value = serde_json::from_str(answer.split("\r\n\r\n").last().unwrap()).unwrap();
        body["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    // Seeds are drawn, but nothing is drawn by them.
    assert_eq!(text(json!({})), text(json!({})));
    assert_eq!(text(json!({})), text(json!({"temperature": 0})));
    assert_ne!(text(json!({})), text(json!({"temperature": 2, "seed": 1})));
    assert_eq!(text(json!({})), text(json!({"repetition_penalty": 3})));
    assert_ne!(text(json!({})), text(json!({"repetition_penalty": 1})));
}

#[test]
fn a_tokenizer_that_belongs_to_another_model_is_refused() {
    let desk = desk_with_folder();
    desk.write("tiny/tokenizer.json", tokenizer(40).to_string());
    let outcome = desk.run(&["generate", "--prompt", "x", "--model", "tiny"]);
    assert_eq!(outcome.code, Some(1));
    assert_eq!(
        outcome.err,
        "error: cannot read the model tiny\n  because: the tokenizer has 298 tokens, but the \
         model's vocabulary only 260; they do not belong together\n"
    );
}

#[test]
fn a_folder_of_a_repository_is_fetched_once() {
    let hub = hub();
    let desk = Desk::small().set("HF_ENDPOINT", &hub.address);
    let pull = desk.run(&["pull", "hf:org/tiny"]);
    assert_eq!(pull.out, "DESK/.cache/antiphon/models/hf/org/tiny\n", "{pull:?}");
    let kept: Vec<_> = desk
        .cached()
        .into_iter()
        .filter(|name| !name.ends_with(".lock") && !name.ends_with(".sha256"))
        .collect();
    let mut expected: Vec<_> = files()
        .iter()
        .filter(|(name, _)| *name != "README.md")
        .map(|(name, _)| format!("hf/org/tiny/{name}"))
        .collect();
    expected.sort();
    assert_eq!(kept, expected);
    let asked = hub.asked().len();
    assert_eq!(desk.run(&["pull", "--verify", "hf:org/tiny"]).out, pull.out);
    let inspected = desk.run(&["inspect", "hf:org/tiny"]);
    assert!(inspected.out.contains("safetensors, 2 parts"), "{inspected:?}");
    assert_eq!(hub.asked().len(), asked);
    let damaged = desk.path(&format!(".cache/antiphon/models/hf/org/tiny/{SECOND}"));
    fs::write(&damaged, "other weights").unwrap();
    let outcome = desk.run(&["pull", "--verify", "hf:org/tiny"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains(SECOND) && outcome.err.contains("has SHA-256"), "{outcome:?}");
}

#[test]
fn an_interrupted_folder_is_continued() {
    let hub = hub();
    let desk = Desk::small().set("HF_ENDPOINT", &hub.address);
    assert_eq!(desk.run(&["pull", "hf:org/tiny"]).code, Some(0));
    // The configuration is fetched last: without it the folder is not complete.
    let root = desk.path(".cache/antiphon/models/hf/org/tiny");
    for name in ["config.json", SECOND] {
        fs::remove_file(root.join(name)).unwrap();
    }
    let before = hub.asked().len();
    assert_eq!(desk.run(&["pull", "hf:org/tiny"]).code, Some(0));
    let fetched: Vec<_> = hub.asked()[before..]
        .iter()
        .filter(|a| a.method == "GET")
        .map(|a| a.path.clone())
        .collect();
    assert_eq!(
        fetched,
        [
            "/api/models/org/tiny".to_owned(),
            format!("/org/tiny/resolve/main/{SECOND}"),
            "/org/tiny/resolve/main/config.json".to_owned(),
        ]
    );
}

#[test]
fn weights_that_nobody_trained_are_served() {
    let desk = Desk::small();
    desk.write("config.json", config().to_string());
    let inspected = desk.run(&["inspect", "random:config.json:Q8_0@7"]);
    assert!(inspected.out.contains("\nformat          random Q8_0, seed 7\n"), "{inspected:?}");
    let server = Running::start(&desk, "random:config.json:Q8_0@7", &["--log-level", "warn"]);
    let id = server.said[0].strip_prefix("serving ").unwrap().split(' ').next().unwrap();
    let answer = chat(&server, id);
    assert!(answer["usage"]["completion_tokens"].as_u64() > Some(0), "{answer}");
    assert_eq!(chat(&server, id)["choices"], answer["choices"]);
    for (source, word) in [
        ("random:config.json:Q9", "`Q9` is no type of weights"),
        ("random:absent.json", "no model at absent.json"),
    ] {
        let outcome = desk.run(&["inspect", source]);
        assert_eq!(outcome.code, Some(1));
        assert!(outcome.err.contains(word), "{outcome:?}");
    }
}
