//! Tenants from the configuration to the books: keys, reloads, usage.

use std::fs;

use serde_json::{Value, json};

use crate::desk::Desk;
use crate::model::tiny;
use crate::running::Running;

/// A key and its hash, from `antiphon key`.
fn key(desk: &Desk) -> (String, String) {
    let outcome = desk.run(&["key"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let said = |what: &str| {
        let line = outcome.out.lines().find_map(|line| line.strip_prefix(what));
        line.unwrap_or_else(|| panic!("no {what} in {}", outcome.out)).to_owned()
    };
    (said("key: "), said("hash: "))
}

fn desk() -> Desk {
    let desk = Desk::small();
    desk.write("tiny.gguf", tiny());
    desk
}

fn entry(name: &str, hash: &str) -> String {
    format!("[[tenants]]\nname = \"{name}\"\nkey_hashes = [\"{hash}\"]\n")
}

impl Running {
    fn status_as(&self, key: &str, head: &str, body: &str) -> String {
        let answer = self.answer_as(key, head, body);
        answer.split(' ').nth(1).unwrap().to_owned()
    }

    fn answer_as(&self, key: &str, head: &str, body: &str) -> String {
        self.answer(&format!("{head} HTTP/1.1\r\nauthorization: Bearer {key}\r\nx-rest:"), body)
    }
}

#[test]
fn a_key_is_new_each_time_and_comes_with_its_hash() {
    let desk = Desk::bare();
    let (first, second) = (key(&desk), key(&desk));
    assert_ne!(first, second);
    let digits = first.0.strip_prefix("sk-antiphon-").unwrap();
    assert!(digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let outcome = desk.run(&["key", "--tenant", "acme"]);
    let (_, entry) = outcome.out.split_once("\n\n").unwrap();
    desk.write("some.toml", entry);
    let outcome = desk.run(&["check", "some.toml"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let printed: toml::Table = outcome.out.parse().unwrap();
    assert_eq!(printed["tenants"][0]["name"].as_str(), Some("acme"));
    let masked = printed["tenants"][0]["key_hashes"][0].as_str().unwrap();
    assert!(masked.len() < 20 && masked.ends_with('…'), "{masked}");
    assert_eq!(desk.run(&["key", "--tenant", "a b"]).code, Some(1));
}

#[test]
fn tenants_that_are_wrong_are_named_with_their_line() {
    let desk = Desk::bare();
    let (_, hash) = key(&desk);
    let check = |text: &str| {
        desk.write("some.toml", text);
        let outcome = desk.run(&["check", "some.toml"]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        outcome.err
    };
    let weightless = format!("{}{}weight = 0\n", entry("a", &hash), "[[tenants]]\nname = \"b\"\n");
    assert_eq!(
        check(&weightless),
        "error: some.toml:6: `tenants[1].weight` is 0; allowed are 1 to 1000000\n"
    );
    let clear = check(&entry("a", "sk-antiphon-0123"));
    assert!(clear.starts_with("error: some.toml:3: `tenants[0].key_hashes[0]`: "), "{clear}");
    assert!(!clear.contains("0123"), "{clear}");
    let twice = check(&format!("{}{}", entry("a", &hash), entry("b", &hash)));
    assert!(twice.contains("`tenants[1].key_hashes[0]` is the same as"), "{twice}");
    let admin = format!("[http]\nadmin_key_hashes = [\"sk-0123\"]\n{}", entry("a", &hash));
    let admin = check(&admin);
    assert!(admin.starts_with("error: some.toml:2: `http.admin_key_hashes`: "), "{admin}");
    assert!(!admin.contains("0123"), "{admin}");
}

#[test]
fn nobody_is_served_from_afar_unless_it_is_said() {
    let desk = desk();
    let serve = ["serve", "--model", "tiny.gguf", "--host", "0.0.0.0", "--log-level", "off"];
    let outcome = desk.run(&serve);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("http.allow_open"), "{outcome:?}");
    desk.write("open.toml", "[http]\nhost = \"0.0.0.0\"\nallow_open = true\n");
    assert_eq!(desk.run(&["check", "open.toml"]).code, Some(0));
}

#[test]
fn a_reload_by_signal_or_by_an_admin_replaces_all_tenants_or_none() {
    let desk = desk();
    let [(a, a_hash), (b, b_hash), (admin, admin_hash)] = [(); 3].map(|()| key(&desk));
    let configured =
        |tenants: &str| format!("[http]\nadmin_key_hashes = [\"{admin_hash}\"]\n{tenants}");
    desk.write("some.toml", configured(&entry("a", &a_hash)));
    let mut server = Running::start(&desk, "tiny.gguf", &["--config", "some.toml"]);
    assert!(server.said[1].contains("authorization: Bearer KEY"), "{:?}", server.said);
    let models = "GET /v1/models";
    let who = |server: &Running| [&a, &b].map(|key| server.status_as(key, models, ""));
    assert_eq!(who(&server), ["200", "401"]);

    desk.write("some.toml", configured(&entry("b", &b_hash)));
    server.signal("HUP");
    server.wait_for_log("added: b (1 keys); removed: a");
    assert_eq!(who(&server), ["401", "200"]);

    desk.write("some.toml", configured(&format!("{}weight = 0\n", entry("a", &a_hash))));
    let reload = "POST /admin/reload";
    assert_eq!(server.status_as(&b, reload, ""), "401");
    let answer = server.answer_as(&admin, reload, "");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("some.toml:6: `tenants[0].weight` is 0"), "{answer}");
    assert_eq!(who(&server), ["401", "200"]);
    server.wait_for_log("the configuration stays as it is: some.toml:6: `tenants[0].weight` is 0");

    desk.write("some.toml", configured(&format!("{}{}", entry("a", &a_hash), entry("b", &b_hash))));
    let answer = server.answer_as(&admin, reload, "");
    let changes = "added: a (1 keys); changed: b (waiting_max 256 -> 128, ";
    assert!(answer.contains(changes), "half of the queue for each: {answer}");
    assert_eq!(who(&server), ["200", "200"]);
    assert_eq!(server.status_as(&admin, "GET /metrics", ""), "200");
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn usage_goes_to_a_file_that_can_be_rotated() {
    let desk = desk();
    let (key, hash) = key(&desk);
    desk.write("some.toml", format!("[log]\nusage = \"usage.jsonl\"\n{}", entry("acme", &hash)));
    let mut server = Running::start(&desk, "tiny.gguf", &["--config", "some.toml"]);
    let body = json!({"model": "tiny", "prompt": "x", "max_tokens": 3, "ignore_eos": true});
    let complete = |server: &Running| {
        let answer = server.answer_as(&key, "POST /v1/completions", &body.to_string());
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    complete(&server);
    // What waits is written before the file is opened again.
    while fs::read_to_string(desk.path("usage.jsonl")).unwrap().is_empty() {
        std::thread::yield_now();
    }
    fs::rename(desk.path("usage.jsonl"), desk.path("usage.old")).unwrap();
    server.signal("HUP");
    server.wait_for_log("reloaded: no tenant changed");
    complete(&server);
    complete(&server);
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
    let lines = |name: &str| -> Vec<Value> {
        let text = fs::read_to_string(desk.path(name)).unwrap();
        assert!(!text.contains(&key) && text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    assert_eq!((lines("usage.old").len(), lines("usage.jsonl").len()), (1, 2));
    for line in [lines("usage.old"), lines("usage.jsonl")].concat() {
        let part = |key: &str| line[key].clone();
        assert_eq!((part("tenant"), part("model")), (json!("acme"), json!("tiny")));
        assert_eq!((part("output_tokens"), part("finish_reason")), (json!(3), json!("length")));
        assert!(part("time").as_f64().unwrap() > 1e9);
        assert!(part("request").as_str().unwrap().starts_with("req_"));
        assert!(part("ttft_ms").as_f64().unwrap() <= part("total_ms").as_f64().unwrap());
    }
}

#[test]
fn a_usage_log_that_cannot_be_written_is_refused_at_once() {
    let desk = desk().set("ANTIPHON__LOG__USAGE", "no/such/folder/usage.jsonl");
    let outcome = desk.run(&["serve", "--model", "tiny.gguf", "--port", "0", "--log-level", "off"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("cannot write to `log.usage`, no/such/folder"), "{outcome:?}");
}

#[test]
fn no_key_is_in_the_log_however_much_it_says() {
    let desk = desk();
    let [(known, hash), (unknown, _), (admin, admin_hash)] = [(); 3].map(|()| key(&desk));
    let http = format!("[http]\nadmin_key_hashes = [\"{admin_hash}\"]\n");
    desk.write("some.toml", format!("{http}{}", entry("acme", &hash)));
    let options = ["--config", "some.toml", "--log-level", "trace"];
    let mut server = Running::start(&desk, "tiny.gguf", &options);
    for key in [&known, &unknown, &admin] {
        server.answer_as(key, "GET /v1/models", "");
        server.answer_as(key, "POST /admin/reload", "");
    }
    desk.write("some.toml", format!("{http}{}", entry("acme", &known)));
    server.answer_as(&admin, "POST /admin/reload", "");
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
    let log = server.rest_of_log();
    assert!(log.contains("it must be the hash of a key") && log.contains("acme"), "{log}");
    for secret in [&known, &unknown, &admin] {
        assert!(!log.contains(&**secret), "{log}");
    }
}
