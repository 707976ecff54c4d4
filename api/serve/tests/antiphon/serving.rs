//! A server from its first line to its exit code.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

use crate::desk::Desk;
use crate::model::tiny;
use crate::running::Running;

/// A desk with a model on it.
fn desk() -> Desk {
    let desk = Desk::small();
    desk.write("tiny.gguf", tiny());
    desk
}

impl Running {
    /// A stream that lasts longer than any test, after its first text.
    fn endless(&self) -> BufReader<TcpStream> {
        let body = json!({
            "model": "tiny", "stream": true, "ignore_eos": true, "max_tokens": 1_000_000,
            "prompt": "x", "temperature": 0,
        });
        let mut stream = self.send("POST /v1/completions", &body.to_string());
        let mut line = String::new();
        while !line.starts_with("data: ") {
            line.clear();
            assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the stream ended");
        }
        stream
    }
}

fn start(desk: &Desk, arguments: &[&str]) -> Running {
    Running::start(desk, "tiny.gguf", arguments)
}

#[test]
fn what_it_says_when_ready_can_be_pasted() {
    let desk = desk();
    let mut server = start(&desk, &[]);
    let [ready, curl] = server.said.clone();
    assert_eq!(ready, format!("serving tiny on http://{}; try:", server.address));
    let begin = format!("curl -N http://{}/v1/chat/completions ", server.address);
    assert!(curl.starts_with(&begin), "{curl}");
    let body = curl.split(" -d ").last().unwrap().trim_matches('\'');
    let mut body: Value = serde_json::from_str(body).unwrap();
    body["max_tokens"] = 8.into();
    let answer = server.answer("POST /v1/chat/completions", &body.to_string());
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("data: [DONE]"), "{answer}");
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn a_signal_drains_and_what_is_open_at_the_deadline_hears_of_it() {
    let desk = desk().set("ANTIPHON__SCHEDULER__DRAIN_TIMEOUT_MS", "1000");
    let mut server = start(&desk, &[]);
    let mut stream = server.endless();
    server.signal("INT");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\"error\"") && !rest.contains("[DONE]"), "{rest}");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let desk = desk().set("ANTIPHON__SCHEDULER__DRAIN_TIMEOUT_MS", "3600000");
    let mut server = start(&desk, &[]);
    let _stream = server.endless();
    server.signal("TERM");
    server.wait_until_draining();
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(143));
}

#[test]
fn a_hangup_reads_the_configuration_again() {
    let desk = desk();
    desk.write("some.toml", "[log]\nlevel = \"info\"\n[scheduler]\nwaiting_max = 8\n");
    let mut server = start(&desk, &["--config", "some.toml"]);
    desk.write("some.toml", "[log]\nlevel = \"debug\"\n[scheduler]\nwaiting_max = 9\n");
    server.signal("HUP");
    server.wait_for_log("`log.level` was \"info\", and is \"debug\"");
    server.wait_for_log("`scheduler.waiting_max` is 8 until the next start, and then 9");
    desk.write("some.toml", "[log]\nlevel = \"loud\"\n");
    server.signal("HUP");
    server.wait_for_log("the configuration stays as it is: some.toml:2: `log.level`");
    assert!(server.answer("GET /ready", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let desk = desk();
    let mut server = start(&desk, &["--log-level", "trace"]);
    // A line each, of some 200 bytes: more than a pipe holds.
    for _ in 0..1_000 {
        assert!(server.answer("GET /health", "").starts_with("HTTP/1.1 200"));
    }
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn an_address_in_use_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let outcome =
        desk().run(&["serve", "--model", "tiny.gguf", "--port", &port, "--log-level", "off"]);
    assert_eq!(outcome.code, Some(1));
    let begin =
        format!("error: cannot listen on 127.0.0.1:{port}; choose another address with --host");
    assert!(outcome.err.starts_with(&begin), "{outcome:?}");
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    // Where there is one, this would serve.
    if std::path::Path::new("/dev/nvidiactl").exists() {
        return;
    }
    for command in [&["serve", "--port", "0"][..], &["generate", "--prompt", "x"]] {
        let options = ["--model", "tiny.gguf", "--device", "cuda", "--log-level", "off"];
        let outcome = desk().run(&[command, &options].concat());
        assert_eq!(outcome.code, Some(1));
        assert!(outcome.err.contains("device `cuda` cannot be used: "), "{outcome:?}");
    }
    // Who asks for several GPUs does not get the CPU.
    let desk = desk().set("ANTIPHON__ENGINE__GPUS", "2");
    let options = ["--model", "tiny.gguf", "--device", "auto", "--log-level", "off"];
    let outcome = desk.run(&[&["serve", "--port", "0"][..], &options].concat());
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("device `cuda` cannot be used: "), "{outcome:?}");
}

#[test]
fn a_completion_comes_to_the_terminal() {
    let desk = desk();
    let run = |arguments: &[&str]| {
        let options =
            ["generate", "--model", "tiny.gguf", "--max-tokens", "12", "--prompt", "hello"];
        let outcome = desk.run(&[&options, arguments].concat());
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(outcome.out.len() > 1 && outcome.out.ends_with('\n'), "{outcome:?}");
        assert!(outcome.err.is_empty(), "{outcome:?}");
        outcome.out
    };
    assert_eq!(run(&[]), run(&[]));
    assert_ne!(run(&[]), run(&["--raw"]));
    assert_ne!(run(&[]), run(&["--system", "sing"]));
    let drawn = run(&["--temperature", "2", "--seed", "1"]);
    assert_eq!(drawn, run(&["--temperature", "2", "--seed", "1"]));
    assert_ne!(drawn, run(&["--temperature", "2", "--seed", "2"]));
}

#[test]
fn a_model_file_is_described() {
    let outcome = desk().run(&["inspect", "tiny.gguf"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for word in ["llama", "1,048,576 tokens", "chat template", "F32"] {
        assert!(outcome.out.contains(word), "no {word:?} in {}", outcome.out);
    }
}
