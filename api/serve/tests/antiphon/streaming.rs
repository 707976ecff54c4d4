//! What streams promise, on a model with experts that speaks English: a small one of this
//! repository's own, or the file that `ANTIPHON_QWEN3_MOE` names.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::desk::Desk;
use crate::running::Running;

const OUTPUTS: u32 = 48;

const PROMPTS: [&str; 4] = [
    "The American people",
    "Call me Ishmael. Some years ago",
    "In the past year, we have",
    "The whale",
];

/// One token of a stream: what its event says.
struct Heard {
    text: String,
    finish: Option<String>,
}

fn start() -> (Desk, Running) {
    let model = match std::env::var("ANTIPHON_QWEN3_MOE") {
        Ok(path) => path,
        Err(_) => {
            let golden = "../../tests/golden/qwen3_moe_tiny/model-q4_k_m.gguf";
            Path::new(env!("CARGO_MANIFEST_DIR")).join(golden).to_str().unwrap().to_owned()
        }
    };
    let desk = Desk::bare().set("ANTIPHON__MODEL__ID", "qwen3-moe");
    let server = Running::start(&desk, &model, &[]);
    (desk, server)
}

fn body(prompt: &str, outputs: u32) -> Value {
    json!({ "model": "qwen3-moe", "prompt": prompt, "max_tokens": outputs, "temperature": 0 })
}

/// The text of an answer in one piece, why it ended, and how many tokens it has.
fn whole(server: &Running, body: &Value) -> (String, String, u64) {
    let answer = server.answer("POST /v1/completions", &body.to_string());
    let json = answer.split("\r\n\r\n").last().unwrap();
    let json: Value = serde_json::from_str(json).unwrap_or_else(|_| panic!("no JSON: {answer}"));
    let choice = &json["choices"][0];
    let text = |key: &str| choice[key].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    (text("text"), text("finish_reason"), json["usage"]["completion_tokens"].as_u64().unwrap())
}

fn open(server: &Running, body: &Value) -> BufReader<TcpStream> {
    let mut body = body.clone();
    body["stream"] = true.into();
    server.send("POST /v1/completions", &body.to_string())
}

/// The next event with text; `None` at the end.
fn next(stream: &mut BufReader<TcpStream>) -> Option<Heard> {
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the stream ended without its end");
    }
    let data = line.trim_start_matches("data: ").trim();
    if data == "[DONE]" {
        return None;
    }
    let json: Value = serde_json::from_str(data).unwrap();
    let choice = &json["choices"][0];
    Some(Heard {
        text: choice["text"].as_str().unwrap_or_else(|| panic!("{data}")).to_owned(),
        finish: choice["finish_reason"].as_str().map(str::to_owned),
    })
}

fn streamed(server: &Running, body: &Value) -> Vec<Heard> {
    let mut stream = open(server, body);
    std::iter::from_fn(|| next(&mut stream)).collect()
}

fn text(heard: &[Heard]) -> String {
    heard.iter().map(|heard| heard.text.as_str()).collect()
}

/// V1_001: what a stream says is what the answer in one piece says, from its first token on.
#[test]
fn v1_001_a_stream_is_the_answer_token_by_token() {
    let (_desk, server) = start();
    for prompt in PROMPTS {
        let all = text(&streamed(&server, &body(prompt, OUTPUTS)));
        for outputs in [1, 2, 3, 5, 8, 13, 21, 34, OUTPUTS] {
            let body = body(prompt, outputs);
            let heard = streamed(&server, &body);
            let (whole, finish, num_tokens) = whole(&server, &body);
            assert_eq!(text(&heard), whole, "{prompt:?}, {outputs} tokens");
            assert!(all.starts_with(whole.trim_end_matches('\u{fffd}')), "{whole:?} of {all:?}");
            assert_eq!(heard.last().unwrap().finish.as_deref(), Some(finish.as_str()));
            assert!(num_tokens == u64::from(outputs) || finish == "stop", "{num_tokens}");
        }
    }
}

/// V1_002: an answer in one piece is what it was, whatever is streamed meanwhile.
#[test]
fn v1_002_answers_in_one_piece_are_unchanged() {
    let (_desk, server) = start();
    let alone = PROMPTS.map(|prompt| whole(&server, &body(prompt, OUTPUTS)));
    let mut streams = PROMPTS.map(|prompt| open(&server, &body(prompt, OUTPUTS)));
    let beside = PROMPTS.map(|prompt| whole(&server, &body(prompt, OUTPUTS)));
    assert_eq!(alone, beside);
    for (stream, (text, ..)) in streams.iter_mut().zip(&alone) {
        let heard: String = std::iter::from_fn(|| next(stream)).map(|heard| heard.text).collect();
        assert_eq!(heard, *text);
    }
}

/// Whoever says stop is out of the batch by the next step: a string that ends the output, and a
/// client that leaves.
#[test]
fn a_stop_ends_the_sequence_at_the_next_step() {
    let (_desk, server) = start();
    let whole = text(&streamed(&server, &body(PROMPTS[0], OUTPUTS)));
    let words: Vec<_> = whole.split(' ').filter(|word| word.len() > 3).collect();
    let stop = words[words.len() / 2];
    let mut stopped = body(PROMPTS[0], OUTPUTS);
    stopped["stop"] = json!([stop]);
    let heard = streamed(&server, &stopped);
    assert_eq!(text(&heard), whole.split(stop).next().unwrap());
    assert_eq!(heard.last().unwrap().finish.as_deref(), Some("stop"));

    let mut endless = body(PROMPTS[1], 1500);
    endless["ignore_eos"] = true.into();
    let mut stream = open(&server, &endless);
    let before = generated(&server);
    for _ in 0..3 {
        next(&mut stream).unwrap();
    }
    drop(stream);
    while !metrics(&server).contains("vllm:num_requests_running{model_name=\"qwen3-moe\"} 0") {}
    // Far from the end: it left, and nothing computed on.
    assert!(generated(&server) - before < 750.0, "{} tokens", generated(&server) - before);
}

fn generated(server: &Running) -> f64 {
    let text = metrics(server);
    let series = "antiphon_output_tokens_total{";
    let line = text.lines().find(|line| line.starts_with(series));
    let line = line.unwrap_or_else(|| panic!("no {series} in {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn metrics(server: &Running) -> String {
    let mut text = String::new();
    server.send("GET /metrics", "").read_to_string(&mut text).unwrap();
    text
}
