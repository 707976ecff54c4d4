//! Requests whose own time is up.

use serde_json::{Value, json};

use crate::client::Client;
use crate::harness::{MODEL, World, tenancy, tenant};

const COMPLETIONS: &str = "/v1/completions";

fn body(fields: &Value) -> String {
    let mut body = json!({"model": MODEL, "prompt": "hi", "max_tokens": 50, "ignore_eos": true});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

fn is_late(client: &mut Client) {
    assert_eq!(client.answer().error(), (504, None, "deadline_exceeded".to_owned()));
}

/// A world in which one request runs and does not come to an end, so that others wait.
fn busy(change: impl FnOnce(&mut crate::harness::Options)) -> (World, Client) {
    let world = World::with(|options| {
        options.runtime.rows_max = 1;
        change(options);
    });
    world.engine.hold();
    let mut running = world.connect();
    running.post_as("sk-a", COMPLETIONS, body(&json!({})));
    world.shows(&format!(r#"antiphon_sequences_running{{model="{MODEL}"}} 1"#));
    (world, running)
}

#[test]
fn before_the_first_token_it_is_504_whoever_set_the_time() {
    let (world, mut running) = busy(|options| {
        let mut hurried = tenant("hurried");
        hurried.timeouts.queue = Some(std::time::Duration::from_millis(20));
        options.tenancy = tenancy([tenant("a"), hurried]);
    });
    let mut client = world.connect();
    for fields in [json!({"timeout": 0.02}), json!({"queue_timeout": 0.02, "timeout": 900})] {
        client.post_as("sk-a", COMPLETIONS, body(&fields));
        is_late(&mut client);
    }
    for header in ["X-Request-Timeout: 0.02", "X-Queue-Timeout: 0.02"] {
        let key = format!("sk-a\r\n{header}");
        client.post_as(&key, COMPLETIONS, body(&json!({"timeout": 900, "queue_timeout": 900})));
        is_late(&mut client);
    }
    client.post_as("sk-hurried", COMPLETIONS, body(&json!({"queue_timeout": 900})));
    is_late(&mut client);
    let ended = |tenant| format!(r#"model="{MODEL}",tenant="{tenant}",outcome="deadline_passed""#);
    world.shows(&format!("antiphon_tenant_requests_total{{{}}} 4", ended("a")));
    world.shows(&format!("antiphon_tenant_requests_total{{{}}} 1", ended("hurried")));
    world.engine.release();
    assert_eq!(running.answer().json()["usage"]["completion_tokens"], 50);
    world.is_quiet();
}

#[test]
fn after_it_the_output_ends_with_a_reason_of_its_own() {
    let world = World::start();
    world.engine.hold();
    let mut client = world.connect();
    client.post(
        COMPLETIONS,
        body(&json!({
            "stream": true, "timeout": 3, "stream_options": {"include_usage": true},
        })),
    );
    assert_eq!(client.head().status, 200);
    world.engine.allow(1);
    let first: Value = serde_json::from_str(&client.event().unwrap()).unwrap();
    assert_eq!(first["choices"][0]["finish_reason"], Value::Null);
    // No step ends any more.
    let rest = client.events();
    let chunk = |at: usize| serde_json::from_str::<Value>(&rest[at]).unwrap();
    assert_eq!(rest.last().unwrap(), "[DONE]", "{rest:?}");
    assert_eq!(chunk(rest.len() - 3)["choices"][0]["finish_reason"], "timeout");
    assert_eq!(chunk(rest.len() - 2)["usage"]["completion_tokens"], 1);
    world.shows(&format!(r#"antiphon_requests_total{{model="{MODEL}",outcome="timeout"}} 1"#));
    world.engine.release();
    world.is_quiet();
}

#[test]
fn a_time_that_is_none_is_refused() {
    let world = World::start();
    let mut client = world.connect();
    for (fields, param) in [
        (json!({"timeout": 0}), "timeout"),
        (json!({"queue_timeout": -1}), "queue_timeout"),
        (json!({"priority": 256}), "priority"),
    ] {
        client.post(COMPLETIONS, body(&fields));
        let expected = (400, Some(param.to_owned()), "invalid_value".to_owned());
        assert_eq!(client.answer().error(), expected);
    }
    client.post_as("k\r\nX-Request-Timeout: soon", COMPLETIONS, body(&json!({})));
    let expected = (400, Some("x-request-timeout".to_owned()), "invalid_value".to_owned());
    assert_eq!(client.answer().error(), expected);
}
