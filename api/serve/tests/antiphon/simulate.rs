//! `antiphon simulate`: traces and configurations, and what is said of them.

use serde_json::Value;

use crate::desk::Desk;

const TRACE: &str = "duration_s = 5\n\
    [[stream]]\ntenant = 'loud'\narrivals = { kind = 'burst', count = 40 }\n\
    prompt = { kind = 'fixed', tokens = 500 }\noutput = { kind = 'fixed', tokens = 20 }\n\
    [[stream]]\ntenant = 'quiet'\narrivals = { kind = 'even', rate = 1.0 }\n\
    prompt = { kind = 'fixed', tokens = 50 }\noutput = { kind = 'fixed', tokens = 5 }\n";

const TENANTS: &str = "[[tenants]]\nname = 'loud'\nwaiting_max = 10\n\
    key_hashes = ['sha256:6dcf3fc45df0af13358e88b2b3061e410c90f0d7f95b6cdd13d6d8bc24c1908e']\n\
    [[tenants]]\nname = 'quiet'\nanonymous = true\nweight = 3\n";

fn desk() -> Desk {
    let desk = Desk::bare();
    desk.write("trace.toml", TRACE);
    desk.write("tenants.toml", TENANTS);
    desk
}

#[test]
fn a_trace_is_served_as_the_configuration_says() {
    let desk = desk();
    let report = |more: &[&str]| -> Value {
        let outcome = desk.run(&[&["simulate", "--json", "--trace", "trace.toml"], more].concat());
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        serde_json::from_str(&outcome.out).unwrap()
    };
    let open = report(&[]);
    assert_eq!((&open["requests"], &open["finished"]), (&44.into(), &44.into()));
    let bounded = report(&["--config", "tenants.toml"]);
    assert!(bounded["rejections"]["tenant_queue_full"].as_u64().unwrap() > 0, "{bounded}");
    let quiet = &bounded["tenants"][1];
    let told = (&quiet["name"], &quiet["weight"], &quiet["finished"]);
    assert_eq!(told, (&"quiet".into(), &3.into(), &4.into()));
    let fifo = report(&["--config", "tenants.toml", "--fifo"]);
    assert_eq!(fifo["finished"], 44, "{fifo}");
}

#[test]
fn what_cannot_be_simulated_is_named() {
    let desk = desk();
    desk.write("trace.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n0.5,10,x\n");
    let refusal = |trace: &str, config: &[&str]| {
        let outcome = desk.run(&[&["simulate", "--trace", trace], config].concat());
        assert_eq!((outcome.code, &*outcome.out), (Some(1), ""));
        outcome.err
    };
    let wrong = refusal("trace.csv", &[]);
    assert!(wrong.contains("line 2") && wrong.contains("GeneratedTokens"), "{wrong}");
    desk.write("other.toml", "[[tenants]]\nname = 'loud'\nanonymous = true\n");
    assert_eq!(
        refusal("trace.toml", &["--config", "other.toml"]),
        "error: the trace has a tenant `quiet`, the configuration only `loud`\n"
    );
    assert!(refusal("nowhere.toml", &[]).contains("cannot read nowhere.toml"));
}
