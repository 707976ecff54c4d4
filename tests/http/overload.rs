//! More requests than may wait: refused at once and politely, and the others served.

use serde_json::json;

use crate::harness::{MODEL, World};

#[test]
fn a_full_queue_is_503_and_the_queue_is_served() {
    let world = World::with(|options| {
        options.runtime.rows_max = 1;
        options.runtime.waiting_max = 3;
    });
    let body = json!({"model": MODEL, "prompt": "hi", "max_tokens": 2, "ignore_eos": true});
    world.engine.hold();
    let mut served = Vec::new();
    for waiting in 0..4 {
        let mut client = world.connect();
        client.post("/v1/completions", body.to_string());
        world.shows(&format!(r#"antiphon_queue_depth{{model="{MODEL}"}} {waiting}"#));
        world.shows(&format!(r#"antiphon_sequences_running{{model="{MODEL}"}} 1"#));
        served.push(client);
    }
    for stream in [true, false] {
        let mut client = world.connect();
        let mut body = body.clone();
        body["stream"] = json!(stream);
        client.post("/v1/completions", body.to_string());
        let answer = client.answer();
        assert_eq!(answer.error(), (503, None, "server_overloaded".to_owned()));
        assert_eq!(answer.head.header("retry-after"), Some("1"));
        client.get("/health");
        assert_eq!(client.answer().head.status, 200, "the connection stays");
    }
    world.engine.release();
    for mut client in served {
        assert_eq!(client.answer().json()["usage"]["completion_tokens"], 2);
    }
    world.is_quiet();
}
