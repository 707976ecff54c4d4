//! What a tenant may take: refused beyond it with 429, and nobody else notices. What the server can
//! take is 503.

use std::num::NonZeroU64;

use expect_test::expect;
use serde_json::json;

use crate::client::{Answer, Client};
use crate::harness::{MODEL, World, tenancy, tenant};

const COMPLETIONS: &str = "/v1/completions";

fn post(client: &mut Client, key: &str, max_tokens: u32) {
    let body = json!({
        "model": MODEL, "prompt": "hi", "max_tokens": max_tokens, "ignore_eos": true,
    });
    client.post_as(key, COMPLETIONS, body.to_string());
}

fn is_limited(answer: &Answer, kind: &str) {
    assert_eq!(answer.error(), (429, None, "rate_limit_exceeded".to_owned()), "{answer:?}");
    let error = &answer.json()["error"];
    assert_eq!(error["type"], kind, "{answer:?}");
    let seconds: u32 = answer.head.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{answer:?}");
}

#[test]
fn requests_beyond_the_rate_are_429_and_every_answer_tells_what_is_left() {
    let world = World::with(|options| {
        let mut limited = tenant("limited");
        limited.rates.requests_per_minute = NonZeroU64::new(2);
        options.tenancy = tenancy([limited, tenant("free")]);
    });
    let mut client = world.connect();
    let left = |answer: &Answer| {
        let head = |name: &str| answer.head.header(name).map(str::to_owned);
        assert_eq!(head("x-ratelimit-limit-requests").as_deref(), Some("2"), "{answer:?}");
        assert!(head("x-ratelimit-reset-requests").unwrap().ends_with('s'), "{answer:?}");
        assert_eq!(head("x-ratelimit-limit-tokens"), None, "{answer:?}");
        head("x-ratelimit-remaining-requests").unwrap()
    };
    client.get_as("sk-limited", "/v1/models");
    assert_eq!(left(&client.answer()), "2");
    // What is not taken does not count.
    client.post_as("sk-limited", COMPLETIONS, "{}");
    let answer = client.answer();
    assert_eq!((answer.head.status, &*left(&answer)), (400, "2"));
    let too_long = json!({"model": MODEL, "prompt": "x".repeat(1000)}).to_string();
    client.post_as("sk-limited", COMPLETIONS, too_long);
    assert_eq!(client.answer().head.status, 400);
    for remaining in ["1", "0"] {
        post(&mut client, "sk-limited", 1);
        let answer = client.answer();
        assert_eq!((answer.head.status, &*left(&answer)), (200, remaining));
    }
    post(&mut client, "sk-limited", 1);
    let answer = client.answer();
    is_limited(&answer, "requests");
    assert!(answer.body.contains("2 requests a minute"), "{answer:?}");
    assert_eq!(left(&answer), "0");

    post(&mut client, "sk-free", 1);
    let answer = client.answer();
    assert_eq!(answer.head.status, 200);
    assert!(!answer.head.raw.contains("x-ratelimit"), "{answer:?}");

    let refused = format!(r#"model="{MODEL}",tenant="limited",reason="requests_per_minute""#);
    world.shows(&format!("antiphon_tenant_requests_refused_total{{{refused}}} 1"));
    let ended = format!(r#"model="{MODEL}",tenant="limited",outcome="length""#);
    world.shows(&format!("antiphon_tenant_requests_total{{{ended}}} 2"));
    world.is_quiet();
}

#[test]
fn tokens_are_reserved_and_what_was_not_generated_is_given_back() {
    let world = World::with(|options| {
        let mut limited = tenant("limited");
        limited.rates.tokens_per_minute = NonZeroU64::new(100);
        options.tenancy = tenancy([limited]);
        options.speech = tests::fake::says("abc");
    });
    world.engine.hold();
    let mut first = world.connect();
    let ask = |client: &mut Client, max_tokens: u32| {
        let body = json!({"model": MODEL, "prompt": "hi", "max_tokens": max_tokens});
        client.post_as("sk-limited", COMPLETIONS, body.to_string());
    };
    ask(&mut first, 90);
    world.shows(&format!(r#"antiphon_sequences_running{{model="{MODEL}"}} 1"#));
    let mut second = world.connect();
    ask(&mut second, 60);
    let answer = second.answer();
    is_limited(&answer, "tokens");
    assert_eq!(answer.head.header("x-ratelimit-limit-tokens"), Some("100"));

    world.engine.release();
    assert_eq!(first.answer().json()["usage"]["completion_tokens"], 4);
    ask(&mut second, 60);
    assert_eq!(second.answer().json()["usage"]["completion_tokens"], 4, "the rest came back");
    world.is_quiet();
}

#[test]
fn a_request_that_left_the_queue_costs_no_tokens() {
    let world = World::with(|options| {
        let mut limited = tenant("limited");
        limited.rates.tokens_per_minute = NonZeroU64::new(100);
        options.tenancy = tenancy([limited, tenant("other")]);
        options.runtime.rows_max = 1;
    });
    world.engine.hold();
    let mut running = world.connect();
    post(&mut running, "sk-other", 1);
    world.shows(&format!(r#"antiphon_sequences_running{{model="{MODEL}"}} 1"#));
    let mut leaving = world.connect();
    post(&mut leaving, "sk-limited", 90);
    let waiting = |count| {
        format!(r#"antiphon_tenant_queue_depth{{model="{MODEL}",tenant="limited"}} {count}"#)
    };
    world.shows(&waiting(1));
    drop(leaving);
    world.shows(&waiting(0));
    world.engine.release();
    let mut staying = world.connect();
    post(&mut staying, "sk-limited", 90);
    assert_eq!(staying.answer().head.status, 200);
    assert_eq!(running.answer().head.status, 200);
    world.is_quiet();
}

#[test]
fn a_tenant_s_full_queue_is_429_and_the_server_s_is_503() {
    let world = World::with(|options| {
        let mut narrow = tenant("narrow");
        narrow.waiting_max = 1;
        options.tenancy = tenancy([narrow, tenant("wide")]);
        options.runtime.rows_max = 1;
        options.runtime.waiting_max = 3;
    });
    world.engine.hold();
    let mut served = Vec::new();
    let mut serve = |key: &str, waiting: u32| {
        let mut client = world.connect();
        post(&mut client, key, 2);
        world.shows(&format!(r#"antiphon_queue_depth{{model="{MODEL}"}} {waiting}"#));
        world.shows(&format!(r#"antiphon_sequences_running{{model="{MODEL}"}} 1"#));
        served.push(client);
    };
    serve("sk-narrow", 0);
    serve("sk-narrow", 1);
    let mut client = world.connect();
    post(&mut client, "sk-narrow", 2);
    let answer = client.answer();
    is_limited(&answer, "requests");
    assert!(answer.body.contains("this tenant's queue is full"), "{answer:?}");

    serve("sk-wide", 2);
    serve("sk-wide", 3);
    post(&mut client, "sk-wide", 2);
    let answer = client.answer();
    assert_eq!(answer.error(), (503, None, "server_overloaded".to_owned()));
    assert!(answer.head.header("retry-after").is_some());
    world.engine.release();
    for mut client in served {
        assert_eq!(client.answer().json()["usage"]["completion_tokens"], 2);
    }
    world.is_quiet();
}

/// An answer as it came, with what differs each time blanked.
fn raw(answer: &Answer) -> String {
    let blank = |line: &str| match line.split_once(": ") {
        Some((name @ ("date" | "x-request-id"), _)) => format!("{name}: _"),
        _ => line.to_owned(),
    };
    let mut lines: Vec<_> = answer.head.raw.lines().map(blank).collect();
    lines[1..].sort();
    format!("{}\n\n{}\n", lines.join("\n"), answer.body)
}

#[test]
fn both_refusals_as_they_are_sent() {
    let world = World::with(|options| {
        let mut limited = tenant("limited");
        limited.rates.tokens_per_minute = NonZeroU64::new(1_000_000_000);
        limited.rates.requests_per_minute = NonZeroU64::new(1);
        options.tenancy = tenancy([limited, tenant("free")]);
        options.runtime.rows_max = 1;
        options.runtime.waiting_max = 1;
    });
    world.engine.hold();
    let mut running = world.connect();
    post(&mut running, "sk-limited", 1);
    world.shows(&format!(r#"antiphon_sequences_running{{model="{MODEL}"}} 1"#));
    let mut client = world.connect();
    post(&mut client, "sk-limited", 1);
    // A minute from now, less what has passed.
    let limited = raw(&client.answer());
    let seconds = |line: &&str| !line.starts_with("retry-after: ") && !line.contains("-reset-");
    let limited: Vec<_> = limited.lines().filter(seconds).collect();
    expect![[r#"
        HTTP/1.1 429 Too Many Requests
        content-length: 137
        content-type: application/json
        date: _
        x-ratelimit-limit-requests: 1
        x-ratelimit-limit-tokens: 1000000000
        x-ratelimit-remaining-requests: 0
        x-ratelimit-remaining-tokens: 1000000000
        x-request-id: _

        {"error":{"message":"this tenant's limit of 1 requests a minute is reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#]]
    .assert_eq(&limited.join("\n"));

    let mut waiting = world.connect();
    post(&mut waiting, "sk-free", 1);
    world.shows(&format!(r#"antiphon_queue_depth{{model="{MODEL}"}} 1"#));
    post(&mut client, "sk-free", 1);
    expect![[r#"
        HTTP/1.1 503 Service Unavailable
        content-length: 147
        content-type: application/json
        date: _
        retry-after: 1
        x-request-id: _

        {"error":{"message":"the server's queue is full: 1 requests are waiting, and 1 may","type":"server_error","param":null,"code":"server_overloaded"}}
    "#]]
    .assert_eq(&raw(&client.answer()));
    world.engine.release();
    for mut client in [running, waiting] {
        assert_eq!(client.answer().head.status, 200);
    }
}
