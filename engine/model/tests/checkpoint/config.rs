//! What a `config.json` may say, and how it is read.

use engine_model::Config;

fn config() -> Config {
    let text = br#"{
        "width": 64, "negative": -1, "wide": 4294967296, "theta": 1e6, "whole": 10000,
        "tied": true, "name": "tiny", "nothing": null, "list": [1, 2], "names": ["a", "b"],
        "mixed": ["a", 1], "rope": {"factor": 8.0, "deep": {"er": 3}}, "ro.pe": 1
    }"#;
    Config::parse("config.json", text).expect("a right config")
}

#[test]
fn values_are_read_as_what_they_are() {
    let config = config();
    assert_eq!(config.u32("width").unwrap(), Some(64));
    assert_eq!(config.f32("theta").unwrap(), Some(1e6));
    assert_eq!(config.f32("whole").unwrap(), Some(1e4));
    assert_eq!(config.bool("tied").unwrap(), Some(true));
    assert_eq!(config.string("name").unwrap(), Some("tiny"));
    assert_eq!(config.integers("list").unwrap(), Some(vec![1, 2]));
    assert_eq!(config.strings("names").unwrap(), Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(config.f32("rope.factor").unwrap(), Some(8.0));
    assert_eq!(config.u32("rope.deep.er").unwrap(), Some(3));
    assert_eq!(config.string("names.1").unwrap(), Some("b"));
    for absent in
        ["absent", "nothing", "rope.absent", "width.absent", "ro.pe", "", "list.2", "list.x"]
    {
        assert_eq!(config.u32(absent).unwrap(), None, "{absent}");
        assert!(!config.has(absent), "{absent}");
    }
    assert!(config.has("rope") && config.has("tied"));
}

#[test]
fn values_of_another_type_are_refused_by_their_key() {
    let config = config();
    let refused = |error: Result<_, engine_model::FileError>| error.unwrap_err().to_string();
    for (key, found) in [
        ("negative", "a negative integer"),
        ("wide", "an integer"),
        ("theta", "a floating-point number"),
        ("tied", "a boolean"),
        ("rope", "an object"),
        ("list", "an array"),
    ] {
        assert_eq!(
            refused(config.u32(key).map(drop)),
            format!("`config.json`: `{key}` is {found}, expected an integer from 0 to 4294967295")
        );
    }
    assert_eq!(
        refused(config.strings("mixed").map(drop)),
        "`config.json`: `mixed` is an array, expected an array of strings"
    );
    assert_eq!(
        refused(config.integers("mixed").map(drop)),
        "`config.json`: `mixed` is an array, expected an array of integers from 0 to 4294967295"
    );
    assert_eq!(
        refused(config.string("rope.factor").map(drop)),
        "`config.json`: `rope.factor` is a floating-point number, expected a string"
    );
}

#[test]
fn what_is_no_config_is_refused() {
    let refused = |text: &[u8]| Config::parse("config.json", text).unwrap_err().to_string();
    for (text, word) in [
        ("", "EOF while parsing"),
        ("[]", "it is an array, expected an object"),
        ("{\"a\": 1} x", "trailing characters"),
        ("{\"a\": NaN}", "expected value"),
        ("{\"a\": 1, \"b\": {\"c\": 1, \"c\": 1}}", "`c` occurs twice"),
    ] {
        let refused = refused(text.as_bytes());
        assert!(refused.starts_with("`config.json`: it is malformed: "), "{refused}");
        assert!(refused.contains(word), "{refused}");
    }
    assert!(refused(b"{\"a\": \"\xff\"}").contains("invalid unicode"));
    let deep = format!("{{\"a\": {}", "[".repeat(1 << 20));
    assert!(refused(deep.as_bytes()).contains("recursion limit"));
    let many = format!("{{\"a\": [{}1]}}", "1,".repeat(1 << 16));
    assert!(refused(many.as_bytes()).contains("more values than"));
}
