//! Who may ask: keys, and the models that their tenants may use.

use serde_json::{Value, json};

use crate::client::{Client, request};
use crate::harness::{ADMIN, MODEL, World, tenancy, tenant};

const COMPLETIONS: &str = "/v1/completions";

fn body() -> String {
    json!({"model": MODEL, "prompt": "hi", "max_tokens": 1}).to_string()
}

fn is_refused(client: &mut Client, secret: &str) {
    let answer = client.answer();
    assert_eq!(answer.error(), (401, None, "invalid_api_key".to_owned()), "{answer:?}");
    assert_eq!(answer.head.header("www-authenticate"), Some("Bearer realm=\"antiphon\""));
    assert!(!answer.body.contains(secret), "{}", answer.body);
}

#[test]
fn without_a_key_that_is_known_nothing_is_answered_but_health() {
    let world = World::with(|options| options.tenancy = tenancy([tenant("a"), tenant("b")]));
    let mut client = world.connect();
    for secret in ["sk-c", "sk-aa", "sk-", ADMIN] {
        let mut posting = world.connect();
        posting.post_as(secret, COMPLETIONS, body());
        is_refused(&mut posting, secret);
        assert!(posting.until_closed().is_empty(), "nobody reads its body");
        client.get_as(secret, "/v1/models");
        is_refused(&mut client, secret);
    }
    for path in ["/v1/models", "/v1/models/fake", "/metrics"] {
        client.get(path);
        is_refused(&mut client, "sk-");
    }
    for header in [
        "",
        "Authorization: Bearer",
        "Authorization: Basic c2stYTo=",
        "Authorization: sk-a",
        "Authorization: Bearer sk-a sk-b",
        "Authorization: Bearer sk-a\r\nAuthorization: Bearer sk-a",
        "Authorization: Bearer sk-ä",
        "X-Key: sk-a",
    ] {
        let kept = format!("Content-Type: application/json\r\n{header}");
        let kept = kept.trim_end();
        let mut client = world.connect();
        client.send(request(COMPLETIONS, &body()).replace("Content-Type: application/json", kept));
        is_refused(&mut client, "sk-");
    }
    let mut posting = world.connect();
    posting.post(&format!("{COMPLETIONS}?api_key=sk-a"), body());
    is_refused(&mut posting, "sk-a");
    for path in ["/health", "/ready"] {
        client.get(path);
        assert_eq!(client.answer().head.status, 200);
    }
    assert_eq!(world.engine.num_steps(), 0);
    for key in ["sk-a", "sk-b"] {
        client.post_as(key, COMPLETIONS, body());
        assert_eq!(client.answer().head.status, 200);
    }
    client.get_as("sk-a", "/metrics");
    is_refused(&mut client, "sk-a");
    assert!(!world.metrics().contains("sk-"));
}

#[test]
fn a_key_is_asked_for_before_the_body() {
    let world = World::with(|options| options.tenancy = tenancy([tenant("a")]));
    let mut client = world.connect();
    client.send(request(COMPLETIONS, "").replace("Length: 0", "Length: 100"));
    is_refused(&mut client, "sk-");
}

#[test]
fn one_tenant_may_be_whoever_has_no_key() {
    let world = World::with(|options| {
        let mut guests = tenant("guests");
        guests.anonymous = true;
        options.tenancy = tenancy([tenant("a"), guests]);
    });
    let mut client = world.connect();
    client.post(COMPLETIONS, body());
    assert_eq!(client.answer().head.status, 200);
    client.post_as("none", COMPLETIONS, body());
    is_refused(&mut client, "none");
    let labels = format!(r#"model="{MODEL}",tenant="guests",outcome="length""#);
    world.shows(&format!("antiphon_tenant_requests_total{{{labels}}} 1"));
}

#[test]
fn a_model_that_a_tenant_may_not_use_is_not_there() {
    let world = World::with(|options| {
        let (mut other, mut same) = (tenant("other"), tenant("same"));
        other.models = vec!["another".to_owned()];
        same.models = vec!["another".to_owned(), MODEL.to_owned()];
        options.tenancy = tenancy([other, same]);
    });
    let mut client = world.connect();
    let missing = (404, Some("model".to_owned()), "model_not_found".to_owned());
    client.post_as("sk-other", COMPLETIONS, body());
    assert_eq!(client.answer().error(), missing);
    client.get_as("sk-other", &format!("/v1/models/{MODEL}"));
    assert_eq!(client.answer().error(), missing);
    client.get_as("sk-other", "/v1/models");
    assert_eq!(client.answer().json()["data"], json!([]));
    client.post_as("sk-same", COMPLETIONS, body());
    assert_eq!(client.answer().head.status, 200);
    client.get_as("sk-same", "/v1/models");
    assert_eq!(client.answer().json()["data"][0]["id"], Value::from(MODEL));
}

#[test]
fn a_server_without_tenants_asks_nobody_and_lets_nobody_administer() {
    let world = World::start();
    let mut client = world.connect();
    client.post_as("whatever", COMPLETIONS, body());
    assert_eq!(client.answer().head.status, 200);
    client.send("POST /admin/reload HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n");
    is_refused(&mut client, "sk-");
}

#[test]
fn a_prompt_is_found_in_the_cache_by_its_own_tenant_alone() {
    let world = World::with(|options| options.tenancy = tenancy([tenant("a"), tenant("b")]));
    let mut client = world.connect();
    let body = json!({"model": MODEL, "prompt": "x".repeat(64), "max_tokens": 1}).to_string();
    let mut cached = |key: &str| {
        client.post_as(key, COMPLETIONS, &body);
        let usage = client.answer().json()["usage"].take();
        usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    assert_eq!(cached("sk-a"), 0);
    assert!(cached("sk-a") > 0, "the test's prompt is cached");
    assert_eq!(cached("sk-b"), 0);
    assert!(cached("sk-b") > 0);
}
