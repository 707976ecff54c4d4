//! A drain: nothing new, what is open to its end or to the deadline, then the end of all.

use runtime::Status;
use serde_json::{Value, json};

use crate::client::Client;
use crate::harness::{MODEL, World};

const COMPLETIONS: &str = "/v1/completions";

fn post(client: &mut Client, stream: bool, max_tokens: u32) {
    let body = json!({
        "model": MODEL, "prompt": "hi", "stream": stream, "max_tokens": max_tokens,
        "ignore_eos": true,
    });
    client.post(COMPLETIONS, body.to_string());
}

#[test]
fn finishes_what_is_open_and_takes_nothing_new() {
    let world = World::with(|options| options.runtime.rows_max = 1);
    world.engine.hold();
    let (mut running, mut queued) = (world.connect(), world.connect());
    post(&mut running, true, 20);
    assert_eq!(running.head().status, 200);
    post(&mut queued, false, 3);
    world.shows(&format!(r#"antiphon_streams_open{{model="{MODEL}"}} 2"#));
    let mut idle = world.connect();
    idle.get("/ready");
    assert_eq!(idle.answer().head.status, 200);

    world.handle.drain();
    world.wait_for(Status::Draining);
    idle.get("/ready");
    let answer = idle.answer();
    assert_eq!((answer.head.status, answer.json()), (503, json!({"status": "draining"})));
    idle.get("/health");
    assert_eq!(idle.answer().head.status, 200);
    post(&mut idle, true, 1);
    let answer = idle.answer();
    assert_eq!(answer.error(), (503, None, "server_shutting_down".to_owned()));
    assert_eq!(answer.head.header("connection"), Some("close"));
    assert!(answer.head.header("retry-after").is_some());
    assert!(idle.until_closed().is_empty());

    world.engine.release();
    assert_eq!(running.events().last().unwrap(), "[DONE]");
    assert_eq!(queued.answer().json()["usage"]["completion_tokens"], 3);
    world.wait_for(Status::Stopped);
    assert_eq!(world.handle.exit_code(), Some(0));
    world.stop();
}

#[test]
fn ends_at_its_deadline_what_will_not_end() {
    let world = World::with(|options| {
        options.runtime.drain_timeout_ms = 50;
        options.context = 1 << 20;
    });
    let (mut streamed, mut whole) = (world.connect(), world.connect());
    post(&mut streamed, true, 1 << 20);
    assert_eq!(streamed.head().status, 200);
    post(&mut whole, false, 1 << 20);
    world.shows(&format!(r#"antiphon_streams_open{{model="{MODEL}"}} 2"#));
    world.handle.drain();
    let events = streamed.events();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "server_shutting_down");
    assert!(!events.contains(&"[DONE]".to_owned()));
    assert_eq!(whole.answer().error(), (503, None, "server_shutting_down".to_owned()));
    world.wait_for(Status::Stopped);
    assert_eq!(world.handle.exit_code(), Some(0));
    world.stop();
}
