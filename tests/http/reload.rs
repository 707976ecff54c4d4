//! Another table of tenants while requests run.

use runtime::{Tenancy, TenancyChanges};
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::harness::{ADMIN, MODEL, World, tenancy, tenant};

const COMPLETIONS: &str = "/v1/completions";

fn ask(client: &mut Client, key: &str, max_tokens: u32) {
    let body = json!({
        "model": MODEL, "prompt": "hi", "max_tokens": max_tokens, "ignore_eos": true,
        "stream": true,
    });
    client.post_as(key, COMPLETIONS, body.to_string());
}

fn reload_as(world: &mut World, key: &str, tenancy: &Tenancy) -> Answer {
    let mut client = world.connect();
    let head = format!("POST /admin/reload HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {key}");
    client.send(format!("{head}\r\nContent-Length: 0\r\n\r\n"));
    if key == ADMIN {
        let answer = world.reloads.blocking_recv().unwrap();
        let changes = world.handle.set_tenancy(tenancy);
        let words = |changes: TenancyChanges| changes.to_string();
        answer.send(changes.map(words).map_err(|error| error.to_string())).unwrap();
    }
    client.answer()
}

#[test]
fn a_tenant_that_is_gone_is_answered_to_its_end_and_no_more() {
    let mut world = World::with(|options| options.tenancy = tenancy([tenant("old"), tenant("a")]));
    world.engine.hold();
    let mut running = world.connect();
    ask(&mut running, "sk-old", 20);
    assert_eq!(running.head().status, 200);
    let series =
        |name: &str| format!(r#"tenant_sequences_running{{model="{MODEL}",tenant="{name}"}}"#);
    world.shows(&format!("antiphon_{} 1", series("old")));

    let mut changed = tenant("a");
    changed.weight = 3;
    let answer = reload_as(&mut world, ADMIN, &tenancy([changed, tenant("new")]));
    assert_eq!(answer.head.status, 200);
    let changes = "added: new (1 keys); removed: old; changed: a (weight 1 -> 3)";
    assert_eq!(answer.json(), json!({"changes": changes}));
    world.engine.release();
    assert_eq!(running.events().last().unwrap(), "[DONE]");

    let mut client = world.connect();
    ask(&mut client, "sk-old", 1);
    assert_eq!(client.answer().error().0, 401);
    for key in ["sk-a", "sk-new"] {
        let mut client = world.connect();
        ask(&mut client, key, 1);
        assert_eq!(client.head().status, 200);
        assert_eq!(client.events().last().unwrap(), "[DONE]");
    }
    let metrics = world.metrics();
    assert!(metrics.contains(&series("new")) && !metrics.contains("tenant=\"old\""), "{metrics}");
    world.is_quiet();
}

#[test]
fn a_table_that_is_wrong_is_400_and_changes_nothing() {
    let mut world = World::with(|options| options.tenancy = tenancy([tenant("a")]));
    let mut wrong = tenant("b");
    wrong.weight = 0;
    let answer = reload_as(&mut world, ADMIN, &tenancy([wrong]));
    assert_eq!(answer.error(), (400, None, "invalid_configuration".to_owned()));
    let message = answer.json()["error"]["message"].take();
    assert_eq!(message, Value::from("`tenants[0].weight` is 0; it must be from 1 to 1000000"));
    let mut client = world.connect();
    for (key, status) in [("sk-a", 200), ("sk-b", 401)] {
        client.get_as(key, "/v1/models");
        assert_eq!(client.answer().head.status, status);
    }
}

#[test]
fn only_those_who_run_the_server_may_ask_for_it() {
    let mut world = World::with(|options| options.tenancy = tenancy([tenant("a")]));
    for key in ["sk-a", "sk-none"] {
        let answer = reload_as(&mut world, key, &tenancy([tenant("b")]));
        assert_eq!(answer.error(), (401, None, "invalid_api_key".to_owned()));
    }
    assert!(world.reloads.try_recv().is_err(), "nobody was asked");
    let mut client = world.connect();
    client.get("/admin/reload");
    assert_eq!(client.answer().error().0, 405);
}
