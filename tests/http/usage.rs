//! What is put on record of each request.

use std::sync::Arc;

use parking_lot::Mutex;
use runtime::{Usage, UsageRecord, UsageSink};
use serde_json::{Value, json};

use crate::client::Leave;
use crate::harness::{MODEL, World, eventually, tenancy, tenant};

const COMPLETIONS: &str = "/v1/completions";

type Records = Arc<Mutex<Vec<UsageRecord>>>;

fn record(world: &World) -> Records {
    let records = Records::default();
    let taken = Arc::clone(&records);
    world.handle.record_usage(UsageSink::new(move |record| {
        taken.lock().push(record);
        true
    }));
    records
}

fn recorded() -> (World, Records) {
    let world = World::with(|options| options.tenancy = tenancy([tenant("a"), tenant("b")]));
    let records = record(&world);
    (world, records)
}

fn body(prompt: &str, max_tokens: u32) -> Value {
    json!({"model": MODEL, "prompt": prompt, "max_tokens": max_tokens, "ignore_eos": true})
}

#[test]
fn each_request_that_was_taken_is_on_record_once() {
    let (world, records) = recorded();
    let mut client = world.connect();
    let key = "sk-a\r\nX-Request-Id: first";
    client.post_as(key, COMPLETIONS, body("hello", 7).to_string());
    assert_eq!(client.answer().head.status, 200);
    let mut streamed = body("hi", 3);
    streamed["stream"] = true.into();
    client.post_as("sk-b\r\nX-Request-Id: second", COMPLETIONS, streamed.to_string());
    assert_eq!(client.head().status, 200);
    assert_eq!(client.events().last().unwrap(), "[DONE]");
    // Neither a key that is wrong nor a body that is has used anything.
    let mut stranger = world.connect();
    stranger.post_as("sk-c", COMPLETIONS, body("hi", 1).to_string());
    assert_eq!(stranger.answer().head.status, 401);
    client.post_as("sk-a", COMPLETIONS, body(&"x".repeat(1_000), 1).to_string());
    assert_eq!(client.answer().head.status, 400);
    world.is_quiet();

    let records = records.lock();
    let told = records.iter().map(|record| {
        assert!(record.queue.unwrap() <= record.ttft.unwrap(), "{record:?}");
        assert!(record.ttft.unwrap() <= record.total, "{record:?}");
        (&*record.request, &*record.tenant, record.usage, record.outcome)
    });
    let usage = |prompt, output| Usage { prompt, cached: 0, output };
    let expected = [("first", "a", usage(5, 7), "length"), ("second", "b", usage(2, 3), "length")];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    let tokens = |name: &str, tenant: &str| {
        world.metric(&format!(
            r#"antiphon_tenant_{name}_tokens_total{{model="{MODEL}",tenant="{tenant}"}}"#
        ))
    };
    assert_eq!((tokens("prompt", "a"), tokens("output", "a")), (5.0, 7.0));
    assert_eq!((tokens("prompt", "b"), tokens("output", "b")), (2.0, 3.0));
}

#[test]
fn of_a_client_that_leaves_what_was_computed_is_on_record() {
    let (world, records) = recorded();
    world.engine.hold();
    let mut client = world.connect();
    let mut body = body("hello", 100);
    body["stream"] = true.into();
    client.post_as("sk-a", COMPLETIONS, body.to_string());
    assert_eq!(client.head().status, 200);
    world.engine.allow(2);
    assert!(client.event().is_some());
    world.shows(&format!(r#"antiphon_output_tokens_total{{model="{MODEL}"}} 2"#));
    drop(client.leave(Leave::Rst));
    assert!(eventually(|| !records.lock().is_empty()));
    world.engine.release();
    world.is_quiet();
    let records = records.lock();
    let [record] = &**records else { panic!("one record: {records:?}") };
    assert_eq!(record.usage, Usage { prompt: 5, cached: 0, output: 2 });
    assert_eq!(record.outcome, "disconnected");
}

#[test]
fn a_record_that_is_not_taken_is_counted() {
    let world = World::start();
    world.handle.record_usage(UsageSink::new(|_| false));
    let mut client = world.connect();
    client.post(COMPLETIONS, body("hi", 1).to_string());
    assert_eq!(client.answer().head.status, 200);
    world.shows(&format!(r#"antiphon_usage_records_lost_total{{model="{MODEL}"}} 1"#));
}

#[test]
fn the_more_urgent_of_a_tenant_s_requests_come_first_as_far_as_its_ceiling_lets_them() {
    for (priority_max, order) in [(255, ["0", "3", "2", "1"]), (4, ["0", "2", "3", "1"])] {
        let world = World::with(|options| {
            let mut a = tenant("a");
            a.priority_max = priority_max;
            options.tenancy = tenancy([a]);
            options.runtime.rows_max = 1;
            // Nobody waits for that long.
            options.runtime.ageing_ms = 3_600_000;
            options.http.workers = 1;
        });
        let records = record(&world);
        world.engine.hold();
        let mut clients = Vec::new();
        for (name, priority) in [("0", 0), ("1", 0), ("2", 5), ("3", 9)] {
            let mut client = world.connect();
            let mut body = body("hi", 1);
            body["priority"] = priority.into();
            let key = format!("sk-a\r\nX-Request-Id: {name}");
            client.post_as(&key, COMPLETIONS, body.to_string());
            let waiting = clients.len();
            world.shows(&format!(r#"antiphon_queue_depth{{model="{MODEL}"}} {waiting}"#));
            world.shows(&format!(r#"antiphon_sequences_running{{model="{MODEL}"}} 1"#));
            clients.push(client);
        }
        world.engine.release();
        for mut client in clients {
            assert_eq!(client.answer().head.status, 200);
        }
        let names: Vec<_> = records.lock().iter().map(|record| record.request.clone()).collect();
        assert_eq!(names, order);
    }
}
