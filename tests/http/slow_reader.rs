//! A client that takes nothing: it slows nobody, and is given up in the end.

use serde_json::{Value, json};

use crate::client::{Client, Leave};
use crate::harness::{MODEL, World};

const COMPLETIONS: &str = "/v1/completions";

fn post(client: &mut Client, max_tokens: u32) {
    let body = json!({
        "model": MODEL, "prompt": "hi", "stream": true, "max_tokens": max_tokens,
        "ignore_eos": true,
    });
    client.post(COMPLETIONS, body.to_string());
}

fn stalled() -> String {
    let labels = format!(r#"model="{MODEL}",cause="stall",phase="decode""#);
    format!("antiphon_cancellations_total{{{labels}}} 1")
}

fn world(stall_timeout_ms: u64) -> World {
    World::with(|options| {
        options.context = 1 << 20;
        options.runtime.stall_timeout_ms = stall_timeout_ms;
    })
}

#[test]
fn others_finish_beside_it_and_it_is_ended_for_stalling() {
    let world = world(300);
    let mut slow = Client::connect_narrow(world.address);
    post(&mut slow, 1 << 20);
    let mut others: Vec<_> = (0..4).map(|_| world.connect()).collect();
    for other in &mut others {
        post(other, 200);
    }
    for other in &mut others {
        assert_eq!(other.head().status, 200);
        assert_eq!(other.events().last().unwrap(), "[DONE]");
    }
    world.shows(&stalled());
    world.shows(&format!(r#"antiphon_sequences_running{{model="{MODEL}"}} 0"#));

    // Whoever comes back late hears what was left for it, and why there is no more.
    assert_eq!(slow.head().status, 200);
    let events = slow.events();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "client_stalled");
    assert!(!events.contains(&"[DONE]".to_owned()));
    world.is_quiet();
}

#[test]
fn it_holds_no_more_memory_than_a_bound_however_long_it_may_stall() {
    // Nobody looks for stalls before the test is over.
    let world = world(3_600_000);
    let mut slow = Client::connect_narrow(world.address);
    let body = json!({
        "model": MODEL, "prompt": "hi", "stream": true, "max_tokens": 1 << 20, "logprobs": 20,
        "ignore_eos": true,
    });
    slow.post(COMPLETIONS, body.to_string());
    world.shows(&stalled());
    assert_eq!(slow.head().status, 200);
    let last: Value = serde_json::from_str(slow.events().last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "client_stalled");
    world.is_quiet();
}

#[test]
fn that_closes_its_side_and_reads_nothing_is_let_go() {
    let world = World::with(|options| {
        options.context = 1 << 20;
        options.runtime.stall_timeout_ms = 300;
        options.http.unread_timeout_ms = 2_000;
    });
    let mut slow = Client::connect_narrow(world.address);
    post(&mut slow, 1 << 20);
    // By now its socket is full, and the server waits for room in it.
    world.shows(&stalled());
    let _open_and_unread = slow.leave(Leave::Fin);
    world.is_quiet();
}

#[test]
fn that_takes_its_time_loses_no_text() {
    let world = world(30_000);
    let mut slow = Client::connect_narrow(world.address);
    post(&mut slow, 20_000);
    // The whole output is there before the first byte of it is taken.
    world.shows(&format!(r#"antiphon_output_tokens_total{{model="{MODEL}"}} 20000"#));
    assert_eq!(slow.head().status, 200);
    let events = slow.events();
    assert_eq!(events.last().unwrap(), "[DONE]");
    let chunk = |event: &String| serde_json::from_str::<Value>(event).unwrap();
    let text = |event: &String| chunk(event)["choices"][0]["text"].as_str().unwrap().to_owned();
    let texts: String = events[..events.len() - 1].iter().map(text).collect();
    assert!(events.len() < 20_000, "what is not taken merges: {} events", events.len());

    let mut quick = world.connect();
    post(&mut quick, 20_000);
    assert_eq!(quick.head().status, 200);
    let events = quick.events();
    let quick_texts: String = events[..events.len() - 1].iter().map(text).collect();
    assert_eq!(texts.len(), 20_000);
    assert_eq!(texts, quick_texts);
    world.is_quiet();
}
