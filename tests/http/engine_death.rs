//! The engine fails at some step: every client hears of it, and the next one is served.

use runtime::Status;
use serde_json::{Value, json};
use tests::fake::Fault;

use crate::client::Client;
use crate::harness::{MODEL, World, eventually};

const COMPLETIONS: &str = "/v1/completions";

fn post(client: &mut Client, stream: bool) {
    let body = json!({
        "model": MODEL, "prompt": vec![1; 20], "stream": stream, "max_tokens": 8,
        "ignore_eos": true, "temperature": 0,
    });
    client.post(COMPLETIONS, body.to_string());
}

#[test]
fn a_device_that_is_lost_answers_everybody_and_ends_the_runtime() {
    let world = World::start();
    world.engine.hold();
    world.engine.fault(0, Fault::WaitLoses);
    let (mut streamed, mut whole) = (world.connect(), world.connect());
    post(&mut streamed, true);
    assert_eq!(streamed.head().status, 200);
    post(&mut whole, false);
    world.shows(&format!(r#"antiphon_streams_open{{model="{MODEL}"}} 2"#));
    world.engine.release();

    let events = streamed.events();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "engine_failed", "{events:?}");
    assert_eq!(whole.answer().error(), (503, None, "engine_failed".to_owned()));
    assert!(eventually(|| world.handle.status() == Status::Stopped), "{:?}", world.handle.status());
    assert_eq!((world.engine.num_built(), world.handle.exit_code()), (1, Some(70)));
}

#[test]
fn at_every_step_of_a_request() {
    // Three chunks of prompt, then tokens.
    for step in 0..8 {
        for how in [Fault::WaitFails, Fault::WaitPanics] {
            let world = World::with(|options| options.runtime.step_tokens_max = 8);
            world.engine.hold();
            world.engine.fault(step, how);
            let (mut streamed, mut whole) = (world.connect(), world.connect());
            post(&mut streamed, true);
            assert_eq!(streamed.head().status, 200);
            post(&mut whole, false);
            world.shows(&format!(r#"antiphon_streams_open{{model="{MODEL}"}} 2"#));
            world.engine.release();

            let events = streamed.events();
            let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
            assert_eq!(last["error"]["code"], "engine_failed", "{how:?} at {step}: {events:?}");
            assert_eq!(last["error"]["type"], "server_error");
            assert!(!events.contains(&"[DONE]".to_owned()));
            let answer = whole.answer();
            assert_eq!(answer.error(), (503, None, "engine_failed".to_owned()));
            assert!(answer.head.header("retry-after").is_some());

            // Refused until the next engine is there.
            let served = eventually(|| {
                let mut next = world.connect();
                post(&mut next, false);
                let answer = next.answer();
                assert!([200, 503].contains(&answer.head.status));
                answer.head.status == 200
            });
            assert!(served, "{:?}", world.handle.status());
            post(&mut streamed, true);
            assert_eq!(streamed.head().status, 200);
            assert_eq!(streamed.events().last().unwrap(), "[DONE]");
            world.is_quiet();
        }
    }
}
