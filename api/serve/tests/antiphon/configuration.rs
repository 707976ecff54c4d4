//! `antiphon check`, and configurations that are wrong.

use crate::desk::Desk;

#[test]
fn check_prints_what_a_file_amounts_to() {
    let desk = Desk::bare().set("ANTIPHON__HTTP__WORKERS", "3");
    desk.write("some.toml", "[http]\nport = 9000\n");
    let outcome = desk.run(&["check", "some.toml"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let printed: toml::Table = outcome.out.parse().unwrap();
    assert_eq!(printed["http"]["port"].as_integer(), Some(9000));
    assert_eq!(printed["http"]["workers"].as_integer(), Some(3));
    assert_eq!(printed["engine"]["block_size"].as_integer(), Some(16));
    desk.write("printed.toml", &outcome.out);
    assert_eq!(desk.run(&["check", "printed.toml"]).out, outcome.out);
}

#[test]
fn the_configurations_of_the_repository_are_right() {
    let desk = Desk::bare();
    let configs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs");
    for entry in std::fs::read_dir(configs).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let outcome = desk.run(&["check", path.to_str().unwrap()]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }
}

#[test]
fn an_unknown_key_is_an_error_wherever_it_stands() {
    let desk = Desk::bare();
    desk.write("some.toml", "[engine]\nthreads = 2\nkv_byte_max = 1\n");
    let outcome = desk.run(&["serve", "--config", "some.toml"]);
    assert_eq!(outcome.code, Some(1));
    assert_eq!(
        outcome.err,
        "error: some.toml:3: unknown key `engine.kv_byte_max`; the nearest one is \
         `engine.kv_bytes_max`\n"
    );
    let desk = desk.set("ANTIPHON__HTTP__HOSTS", "::");
    assert_eq!(
        desk.run(&["generate", "--prompt", "x"]).err,
        "error: environment variable ANTIPHON__HTTP__HOSTS: unknown key `http.hosts`; the nearest \
         one is `http.host`\n"
    );
}

#[test]
fn a_value_out_of_range_is_named_with_its_range() {
    let desk = Desk::bare();
    desk.write("some.toml", "[scheduler]\npipeline_depth = 9\n");
    let outcome = desk.run(&["check", "some.toml"]);
    assert_eq!(outcome.code, Some(1));
    assert_eq!(
        outcome.err,
        "error: some.toml:2: `scheduler.pipeline_depth` is 9; allowed are 1 to 4\n"
    );
    desk.write("some.toml", "[engine]\ndevice = \"cpu\"\ngpus = 2\n");
    assert_eq!(
        desk.run(&["check", "some.toml"]).err,
        "error: the settings of `engine` do not go together\n  because: gpus is 2, expected 1, since \
         device is `cpu`\n"
    );
    desk.write("some.toml", "[model]\nsource = \"hf:org\"\n");
    assert_eq!(
        desk.run(&["check", "some.toml"]).err,
        "error: `model.source`\n  because: `hf:org` is not of the form hf:ORG/REPO or \
         hf:ORG/REPO/FILE\n"
    );
}
