use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::range::RANGES;
use super::*;

const DOCUMENTED: &str = include_str!("../../../../configs/default.toml");

fn documented() -> BTreeMap<String, toml::Value> {
    flatten(&toml::from_str(DOCUMENTED).unwrap()).into_iter().collect()
}

fn defaults() -> BTreeMap<String, toml::Value> {
    flatten(&Config::default().to_table()).into_iter().collect()
}

fn load_file(text: &str) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("some.toml");
    std::fs::write(&file, text).unwrap();
    load(&Sources { file: Some(file), ..Sources::default() })
        .map_err(|error| error.to_string().replace(directory.path().to_str().unwrap(), "DIR"))
}

fn load_variable(name: &str, value: &str) -> Result<Config, String> {
    let environment = vec![(OsString::from(name), OsString::from(value))];
    load(&Sources { environment, ..Sources::default() }).map_err(|error| error.to_string())
}

#[test]
fn the_documented_configuration_is_the_default_one() {
    assert_eq!(documented(), defaults());
    assert_eq!(load_file(DOCUMENTED).unwrap(), Config::default());
}

#[test]
fn every_key_is_documented_with_the_range_that_is_checked() {
    let mut comment = String::new();
    let mut section = String::new();
    for line in DOCUMENTED.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push_str(text);
        } else if let Some((name, _)) = line.split_once(" = ") {
            assert!(!comment.is_empty(), "`{section}.{name}` has no comment");
            if let Some(range) = range::Range::of(&format!("{section}.{name}")) {
                let text = format!("Allowed: {} to {}.", range.min, range.max);
                assert!(comment.ends_with(&text), "`{section}.{name}` does not say: {text}");
            }
            comment.clear();
        } else {
            section = line.trim_matches(['[', ']']).to_owned();
            comment.clear();
        }
    }
}

#[test]
fn there_are_few_keys_and_every_number_has_a_range() {
    let defaults = defaults();
    assert!(defaults.len() <= 40, "{} keys", defaults.len());
    let numbers: Vec<&str> =
        defaults.iter().filter(|(_, v)| v.is_integer()).map(|(key, _)| key.as_str()).collect();
    let ranges: Vec<&str> = RANGES.iter().map(|range| range.key).collect();
    assert_eq!(numbers, ranges);
    for range in RANGES {
        assert!(range.contains(defaults[range.key].as_integer().unwrap()), "{}", range.key);
    }
}

#[test]
fn later_layers_win() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("some.toml");
    std::fs::write(&file, "[http]\nport = 1\nhost = \"::1\"\n[engine]\nthreads = 1\n").unwrap();
    let config = load(&Sources {
        file: Some(file),
        environment: vec![("ANTIPHON__HTTP__PORT".into(), "2".into())],
        flags: vec![("http.port", 3.into(), "--port"), ("engine.device", "cpu".into(), "--device")],
    })
    .unwrap();
    assert_eq!(config.http.port, 3);
    assert_eq!(config.http.host, "::1");
    assert_eq!(config.engine.threads, 1);
    assert_eq!(config.engine.device, Device::Cpu);
    assert_eq!(config.scheduler, Scheduler::default());
}

#[test]
fn a_file_that_is_wrong_says_where_and_what_would_be_right() {
    let cases = [
        (
            "[http]\n\nprot = 1\n",
            "DIR/some.toml:3: unknown key `http.prot`; the nearest one is `http.port`",
        ),
        ("port = 1\n", "DIR/some.toml:1: unknown key `port`; the nearest one is `http.port`"),
        (
            "[engin]\nthreads = 1",
            "DIR/some.toml:2: unknown key `engin.threads`; the nearest one is `engine.threads`",
        ),
        ("[loging]", "DIR/some.toml:1: unknown key `loging`; the nearest one is `log`"),
        (
            "[http.port]\nx = 1",
            "DIR/some.toml:2: unknown key `http.port.x`; the nearest one is `http.port`",
        ),
        ("http = 3", "DIR/some.toml:1: `http` is a section, and takes no value of its own"),
        (
            "[http]\nport = \"80\"",
            "DIR/some.toml:2: `http.port` takes a value of type integer, not string",
        ),
        ("[http]\nport = 70000", "DIR/some.toml:2: `http.port` is 70000; allowed are 0 to 65535"),
        (
            "[engine]\nblock_size = -1",
            "DIR/some.toml:2: `engine.block_size` is -1; allowed are 1 to 256",
        ),
        (
            "[engine]\ndevice = \"gpu\"",
            "DIR/some.toml:2: `engine.device`: unknown variant `gpu`, expected one of `auto`, \
             `cpu`, `cuda`, `sim`",
        ),
        (
            "[engine]\nweight_type = \"int4\"",
            "DIR/some.toml:2: `engine.weight_type`: unknown variant `int4`, expected `auto` or `fp8`",
        ),
        (
            "[engine]\n\nblock_size = \n",
            "DIR/some.toml:3: string values must be quoted, expected literal string",
        ),
        (
            "[engine]\nrows_max = 64\nstep_tokens_max = 63",
            "`engine.step_tokens_max` is 63; it must be at least `engine.rows_max`, which is 64, \
             so that every row can decode",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(load_file(text).unwrap_err(), message, "for {text:?}");
    }
}

#[test]
fn a_variable_that_is_wrong_is_named() {
    let cases = [
        (
            "ANTIPHON__HTTP__PROT",
            "1",
            "environment variable ANTIPHON__HTTP__PROT: unknown key `http.prot`; the nearest one \
             is `http.port`",
        ),
        (
            "ANTIPHON__HTTP__PORT",
            "eighty",
            "environment variable ANTIPHON__HTTP__PORT: `http.port` takes a value of type integer, \
             not \"eighty\"",
        ),
        (
            "ANTIPHON__HTTP__WORKERS",
            "257",
            "environment variable ANTIPHON__HTTP__WORKERS: `http.workers` is 257; allowed are 0 to \
             256",
        ),
        (
            "ANTIPHON__PORT",
            "1",
            "environment variable ANTIPHON__PORT: unknown key `port`; the nearest one is \
             `http.port`",
        ),
    ];
    for (name, value, message) in cases {
        assert_eq!(load_variable(name, value).unwrap_err(), message);
    }
    assert_eq!(load_variable("ANTIPHON__LOG__LEVEL", "debug").unwrap().log.level, Level::Debug);
    assert!(
        !load_variable("ANTIPHON__SCHEDULER__PREFIX_CACHE", "false")
            .unwrap()
            .scheduler
            .prefix_cache
    );
}

#[test]
fn a_file_that_is_missing_or_a_directory_is_named() {
    let missing =
        load(&Sources { file: Some(PathBuf::from("no/such.toml")), ..Sources::default() });
    assert_eq!(missing.unwrap_err().to_string(), "cannot read configuration no/such.toml");
    let directory = load(&Sources { file: Some(PathBuf::from(".")), ..Sources::default() });
    assert_eq!(format!("{:#}", directory.unwrap_err()), "cannot read configuration .: not a file");
}

#[test]
fn what_is_printed_reads_back_as_the_same() {
    let config = Config { http: Http { port: 9, ..Http::default() }, ..Config::default() };
    assert_eq!(load_file(&toml::to_string(&config).unwrap()).unwrap(), config);
}

#[test]
fn the_defaults_are_those_of_the_crates_below() {
    let composed = compose::compose(&Config::default()).unwrap();
    assert_eq!(composed.engine, engine::Config::default());
    assert_eq!(composed.runtime, runtime::Config::default());
    assert_eq!(composed.api, api::Config::default());
}

#[test]
fn eight_bits_and_the_cpu_do_not_go_together() {
    let mut config = Config::default();
    config.engine.weight_type = WeightType::Fp8;
    assert_eq!(compose::compose(&config).unwrap().engine.weight_type, engine::WeightType::Fp8);
    config.engine.device = Device::Cpu;
    let refused = format!("{:#}", compose::compose(&config).err().unwrap());
    assert_eq!(
        refused,
        "the settings of `engine` do not go together: weight_type is fp8, expected auto, or a \
         device that is a GPU"
    );
}

#[test]
fn what_is_in_range_here_is_in_range_below() {
    for range in RANGES {
        for number in [range.min, range.max] {
            let mut tree = Config::default().to_table();
            let (section, key) = range.key.split_once('.').unwrap();
            tree[section].as_table_mut().unwrap().insert(key.to_owned(), number.into());
            // The one pair that must go together.
            if range.key == "engine.rows_max" {
                tree["engine"]["step_tokens_max"] = 65_536.into();
            } else if range.key == "engine.step_tokens_max" {
                tree["engine"]["rows_max"] = 1.into();
            }
            let config: Config = tree.try_into().unwrap();
            assert!(compose::compose(&config).is_ok(), "{} is {number}", range.key);
        }
    }
}

#[test]
fn one_of_several_tenants_may_have_half_of_the_queue_unless_it_is_said() {
    let waiting = |text: &str| {
        let config = load_file(&format!("[scheduler]\nwaiting_max = 9\n{text}")).unwrap();
        let tenants = compose::compose(&config).unwrap().tenancy.tenants;
        tenants
            .iter()
            .map(|tenant| (tenant.waiting_max, tenant.waiting_tokens_max))
            .collect::<Vec<_>>()
    };
    let hash = |digit: &str| format!("key_hashes = [\"sha256:{}\"]\n", digit.repeat(64));
    let one = format!("[[tenants]]\nname = \"a\"\n{}", hash("1"));
    let two = format!("{one}[[tenants]]\nname = \"b\"\nwaiting_max = 7\n{}", hash("2"));
    let whole = Scheduler::default().waiting_tokens_max;
    assert_eq!(waiting(&one), [(9, whole)]);
    assert_eq!(waiting(&two), [(5, whole / 2), (7, whole / 2)]);
}
