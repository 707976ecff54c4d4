//! A client that leaves is forgotten, in whatever phase it leaves and however.
//!
//! The engine is held while the client leaves and until the scheduler has heard of it, so that it
//! is certain which steps were planned before and which after.

use serde_json::json;

use crate::client::{Client, Leave};
use crate::harness::{MODEL, World};

const BOTH: [Leave; 2] = [Leave::Fin, Leave::Rst];
const COMPLETIONS: &str = "/v1/completions";

/// A prompt of so many tokens whose output never ends by itself.
fn endless(prompt: usize, stream: bool) -> String {
    let tokens = vec![1; prompt];
    let body = json!({
        "model": MODEL, "prompt": tokens, "stream": stream, "max_tokens": 1000, "ignore_eos": true,
    });
    body.to_string()
}

/// Lets the client leave, and checks that no step planned from then on is for anybody.
fn leaves(world: &World, client: Client, how: Leave, phase: &str) {
    let before = world.num_rows();
    let _gone = client.leave(how);
    world.shows(&format!(
        r#"antiphon_cancellations_total{{model="{MODEL}",cause="disconnect",phase="{phase}"}} 1"#
    ));
    world.engine.release();
    world.is_quiet();
    assert_eq!(world.num_rows(), before, "{phase} {how:?}: planned after it left");
}

#[test]
fn in_prefill() {
    for (how, stream) in BOTH.into_iter().flat_map(|how| [(how, true), (how, false)]) {
        let world = World::with(|options| options.runtime.step_tokens_max = 8);
        world.engine.hold();
        let mut client = world.connect();
        client.post(COMPLETIONS, endless(100, stream));
        world.engine.allow(3);
        // Two chunks beyond the three that are through: the pipeline is full.
        world.wait_for_steps(5);
        leaves(&world, client, how, "prefill");
    }
}

#[test]
fn while_decoding() {
    for (how, stream) in BOTH.into_iter().flat_map(|how| [(how, true), (how, false)]) {
        let world = World::start();
        world.engine.hold();
        let mut client = world.connect();
        client.post(COMPLETIONS, endless(4, stream));
        world.engine.allow(3);
        world.wait_for_steps(5);
        if stream {
            assert_eq!(client.head().status, 200);
            assert!(client.event().unwrap().contains("text_completion"));
        }
        leaves(&world, client, how, "decode");
    }
}

#[test]
fn while_queued() {
    for (how, stream) in BOTH.into_iter().flat_map(|how| [(how, true), (how, false)]) {
        let world = World::with(|options| options.runtime.rows_max = 1);
        world.engine.hold();
        let mut first = world.connect();
        let body = json!({"model": MODEL, "prompt": "hi", "max_tokens": 5, "ignore_eos": true});
        first.post(COMPLETIONS, body.to_string());
        world.wait_for_steps(2);

        let mut client = world.connect();
        client.post(COMPLETIONS, endless(4, stream));
        world.shows(&format!(r#"antiphon_queue_depth{{model="{MODEL}"}} 1"#));
        if stream {
            assert_eq!(client.head().status, 200, "the head goes out on admission");
        }
        let _gone = client.leave(how);
        world.shows(&format!(r#"antiphon_queue_depth{{model="{MODEL}"}} 0"#));
        world.engine.release();
        let answer = first.answer();
        assert_eq!(answer.json()["usage"]["completion_tokens"], 5);
        world.is_quiet();
        assert_eq!(world.num_sequences(), 1, "the one that left was never planned");
    }
}

#[test]
fn on_a_connection_that_was_served_before() {
    for how in BOTH {
        let world = World::start();
        let mut client = world.connect();
        let body = json!({"model": MODEL, "prompt": "hi", "max_tokens": 2, "ignore_eos": true});
        client.post(COMPLETIONS, body.to_string());
        assert_eq!(client.answer().head.status, 200);
        world.is_quiet();
        world.engine.hold();
        let steps = world.engine.num_steps();
        client.post(COMPLETIONS, endless(4, true));
        world.engine.allow(2);
        world.wait_for_steps(steps + 4);
        leaves(&world, client, how, "decode");
    }
}

/// No phase is held here: clients leave at whatever moment it happens to be.
#[test]
fn at_any_moment() {
    let world = World::start();
    for round in 0..100 {
        let mut clients: Vec<_> = (0..4).map(|_| world.connect()).collect();
        for client in &mut clients {
            client.post(COMPLETIONS, endless(1 + round, round % 2 == 0));
        }
        // So many passes through the socket that rounds differ in how far the server is.
        for _ in 0..round / 20 {
            let mut other = world.connect();
            other.get("/health");
            assert_eq!(other.answer().head.status, 200);
        }
        for (index, client) in clients.into_iter().enumerate() {
            drop(client.leave(BOTH[index % 2]));
        }
    }
    world.is_quiet();
    still_serves(&world);
}

#[test]
fn before_the_request_is_whole() {
    let world = World::start();
    for how in BOTH {
        let body = crate::client::request(COMPLETIONS, &endless(4, true));
        for length in [1, 30, body.len() / 2, body.len() - 1] {
            let mut client = world.connect();
            client.send(&body[..length]);
            drop(client.leave(how));
        }
    }
    still_serves(&world);
    world.is_quiet();
    assert_eq!(world.num_sequences(), 1);
}

#[test]
fn others_are_not_disturbed() {
    let world = World::start();
    let body = json!({"model": MODEL, "prompt": "hi", "max_tokens": 40, "ignore_eos": true});
    let mut alone = world.connect();
    alone.post(COMPLETIONS, body.to_string());
    let alone = alone.answer().json()["choices"][0]["text"].clone();

    world.engine.hold();
    let mut leaving: Vec<_> = (0..8).map(|_| world.connect()).collect();
    let mut staying: Vec<_> = (0..8).map(|_| world.connect()).collect();
    let steps = world.engine.num_steps();
    for (one, other) in leaving.iter_mut().zip(&mut staying) {
        one.post(COMPLETIONS, endless(4, true));
        other.post(COMPLETIONS, body.to_string());
    }
    world.engine.allow(10);
    world.wait_for_steps(steps + 12);
    for (index, client) in leaving.into_iter().enumerate() {
        drop(client.leave(BOTH[index % 2]));
    }
    world.engine.release();
    for mut client in staying {
        assert_eq!(client.answer().json()["choices"][0]["text"], alone);
    }
    world.is_quiet();
}

fn still_serves(world: &World) {
    let mut client = world.connect();
    let body = json!({"model": MODEL, "prompt": "hi", "max_tokens": 2, "ignore_eos": true});
    client.post(COMPLETIONS, body.to_string());
    assert_eq!(client.answer().json()["usage"]["completion_tokens"], 2);
}
