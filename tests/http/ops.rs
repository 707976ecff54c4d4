//! Health, readiness, metrics, models, and the name of a request.

use runtime::Status;
use serde_json::{Value, json};
use tests::bytes::CONTEXT;

use crate::harness::{MODEL, World};

#[test]
fn a_server_that_starts_is_alive_and_not_ready() {
    let mut world = World::with(|options| options.engine_comes_later = true);
    let mut client = world.connect();
    client.get("/health");
    assert_eq!(client.answer().head.status, 200);
    client.get("/ready");
    let answer = client.answer();
    assert_eq!((answer.head.status, answer.json()), (503, json!({"status": "starting"})));
    client.get("/v1/models");
    assert_eq!(client.answer().head.status, 200);
    client.post("/v1/completions", json!({"model": MODEL, "prompt": "hi"}).to_string());
    let answer = client.answer();
    assert_eq!(answer.error(), (503, None, "server_starting".to_owned()));
    assert!(answer.head.header("retry-after").is_some());

    let mut client = world.connect();
    world.engine_comes();
    world.wait_for(Status::Serving);
    client.get("/ready");
    let answer = client.answer();
    assert_eq!((answer.head.status, answer.json()), (200, json!({"status": "serving"})));
    client.post("/v1/completions", json!({"model": MODEL, "prompt": "hi"}).to_string());
    assert_eq!(client.answer().head.status, 200);
}

#[test]
fn an_engine_that_never_comes_is_not_alive() {
    let mut world = World::with(|options| options.engine_comes_later = true);
    world.engine.fail_build("there is no engine");
    world.engine_comes();
    world.wait_for(Status::Stopped);
    assert_eq!(world.handle.exit_code(), Some(1));
    let mut client = world.connect();
    for path in ["/health", "/ready"] {
        client.get(path);
        let answer = client.answer();
        assert_eq!((answer.head.status, answer.json()), (503, json!({"status": "stopped"})));
    }
    client.post("/v1/completions", json!({"model": MODEL, "prompt": "hi"}).to_string());
    assert_eq!(client.answer().error(), (503, None, "server_shutting_down".to_owned()));
}

#[test]
fn metrics_are_openmetrics_text_with_the_process_in_it() {
    let world = World::start();
    let mut client = world.connect();
    client.post("/v1/completions", json!({"model": MODEL, "prompt": "hi"}).to_string());
    assert_eq!(client.answer().head.status, 200);
    client.get("/metrics");
    let answer = client.answer();
    assert_eq!(
        answer.head.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    for name in [
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "vllm:num_requests_running{",
        "vllm:num_requests_waiting{",
        "vllm:kv_cache_usage_perc{",
        "antiphon_ttft_seconds_count{",
    ] {
        assert!(answer.body.contains(&format!("\n{name}")), "{name}: {}", answer.body);
    }
    let counted =
        r#"antiphon_http_responses_total{model="fake",route="/v1/completions",status="200"} 1"#;
    assert!(answer.body.contains(counted), "{}", answer.body);
    assert!(answer.body.ends_with("\n# EOF\n"));
    assert_eq!(answer.body.matches("# EOF").count(), 1);
}

#[test]
fn the_served_model_is_listed_and_shown() {
    let world = World::start();
    let mut client = world.connect();
    client.get("/v1/models");
    let list = client.answer().json();
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    client.get(&format!("/v1/models/{MODEL}"));
    let model = client.answer().json();
    assert_eq!(list["data"][0], model);
    assert_eq!(model["id"], MODEL);
    assert_eq!(model["object"], "model");
    assert_eq!(model["max_model_len"], CONTEXT);
    assert!(model["created"].is_u64() && model["owned_by"].is_string());
}

#[test]
fn a_head_alone_has_no_body() {
    let world = World::start();
    let mut client = world.connect();
    client.send("HEAD /health HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.head().status, 200);
    client.get("/health");
    assert_eq!(client.answer().json(), json!({"status": "serving"}));
}

#[test]
fn every_answer_carries_a_request_id() {
    let world = World::start();
    let mut client = world.connect();
    let longest = "x".repeat(128);
    for given in ["a", "A-b_9", &longest] {
        client.send(format!("GET /health HTTP/1.1\r\nHost: t\r\nX-Request-Id: {given}\r\n\r\n"));
        assert_eq!(client.answer().head.header("x-request-id"), Some(given));
    }
    let too_long = "x".repeat(129);
    for given in ["", "a b", "a.b", "é", &too_long] {
        client.send(format!("GET /none HTTP/1.1\r\nHost: t\r\nX-Request-Id: {given}\r\n\r\n"));
        let head = client.answer().head;
        let minted = head.header("x-request-id").unwrap();
        assert!(minted.starts_with("req_") && minted.len() == 28, "{minted}");
    }
}

#[test]
fn unknown_fields_are_listed_in_a_header() {
    let world = World::start();
    let mut client = world.connect();
    for stream in [true, false] {
        let body = json!({
            "model": MODEL, "prompt": "hi", "stream": stream, "zest": 1, "a\r\nb: c": 2,
            "nothing": null, "user": "u", "max_tokens": 1,
        });
        client.post("/v1/completions", body.to_string());
        let head = client.head();
        let listed: Vec<_> =
            head.header("x-antiphon-ignored-fields").unwrap().split(", ").collect();
        assert_eq!(listed.len(), 2, "{listed:?}");
        assert!(listed.contains(&"zest") && listed.contains(&"a??b??c"), "{listed:?}");
        if stream {
            assert_eq!(client.events().last().unwrap(), "[DONE]");
        }
    }
    let mut client = world.connect();
    client.post("/v1/completions", json!({"model": MODEL, "prompt": "hi"}).to_string());
    let answer = client.answer();
    assert_eq!(answer.head.header("x-antiphon-ignored-fields"), None);
    assert_eq!(answer.json()["usage"]["completion_tokens"], Value::from(16));
}
