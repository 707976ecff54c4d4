//! Models that come from Hugging Face, or from a server that speaks like it.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest as _, Sha256};

use crate::desk::{Desk, Outcome};
use crate::server::{Answer, Asked, Server};

const SOURCE: &str = "hf:org/repo/q4/tiny.gguf";
const FILE: &str = "/org/repo/resolve/main/q4/tiny.gguf";
const STORE: &str = "/store/tiny";
const PLACE: &str = "hf/org/repo/q4/tiny.gguf";

fn weights() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is said of the file, and a redirect to where it is stored.
fn described(digest: &str, size: usize) -> Answer {
    let headers = format!(
        "location: {STORE}\r\nx-linked-etag: \"{digest}\"\r\nx-linked-size: {size}\r\n\
         etag: \"x\"\r\n"
    );
    // A relative address would be a repository that moved: the store is another server.
    Answer::new("302 Found", &headers.replace(STORE, "http://STORE"), b"")
}

/// The bytes from where they are asked for.
fn from_range(bytes: &[u8], asked: &Asked) -> Answer {
    let Some(range) = &asked.range else { return Answer::new("200 OK", "", bytes) };
    let begin: usize = range.strip_prefix("bytes=").unwrap().trim_end_matches('-').parse().unwrap();
    let (last, total) = (bytes.len() - 1, bytes.len());
    let headers = format!("content-range: bytes {begin}-{last}/{total}\r\n");
    Answer::new("206 Partial Content", &headers, &bytes[begin..])
}

/// A server whose file is fetched by way of a redirect to a store, which may break off: `cuts` says
/// after how many bytes the n-th transfer ends.
fn server(digest: String, cuts: &'static [usize]) -> (Server, Server) {
    let transfers = AtomicUsize::new(0);
    let store = Server::start(move |asked| {
        let answer = from_range(&weights(), asked);
        let cut = cuts.get(transfers.fetch_add(1, Ordering::Relaxed)).copied();
        answer.cut(cut.unwrap_or(usize::MAX))
    });
    let location = format!("{}{STORE}", store.address);
    let server = Server::start(move |asked| {
        assert_eq!(asked.path, FILE);
        let mut answer = described(&digest, weights().len());
        answer.head = answer.head.replace("http://STORE", &location);
        answer
    });
    (server, store)
}

fn desk(server: &Server) -> Desk {
    Desk::bare().set("HF_ENDPOINT", &server.address)
}

fn assert_fetched(desk: &Desk, outcome: &Outcome) {
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(outcome.out, format!("DESK/.cache/antiphon/models/{PLACE}\n"));
    assert_eq!(fs::read(desk.path(".cache/antiphon/models").join(PLACE)).unwrap(), weights());
    assert_eq!(desk.cached(), [PLACE, &format!("{PLACE}.lock"), &format!("{PLACE}.sha256")]);
}

fn assert_refused(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    for word in words {
        assert!(outcome.err.contains(word), "no {word:?} in {}", outcome.err);
    }
}

fn ranges(store: &Server) -> Vec<Option<String>> {
    store.asked().into_iter().map(|asked| asked.range).collect()
}

#[test]
fn a_file_is_fetched_once_and_then_needs_no_network() {
    let (server, store) = server(sha256(&weights()), &[]);
    let desk = desk(&server);
    assert_fetched(&desk, &desk.run(&["pull", SOURCE]));
    let asked = server.asked().len();
    assert_fetched(&desk, &desk.run(&["pull", "--verify", SOURCE]));
    assert_eq!((server.asked().len(), store.asked().len()), (asked, 1));
}

#[test]
fn the_token_goes_to_the_server_alone_and_into_no_message() {
    let (server, store) = server(sha256(&weights()), &[]);
    let desk = desk(&server).set("HF_TOKEN", "hf_secret");
    let outcome = desk.run(&["pull", SOURCE]);
    assert_fetched(&desk, &outcome);
    assert!(server.asked().iter().all(|asked| asked.token.as_deref() == Some("Bearer hf_secret")));
    assert!(store.asked().iter().all(|asked| asked.token.is_none()));
    assert!(!format!("{outcome:?}").contains("secret"));
}

#[test]
fn a_transfer_that_breaks_off_is_continued() {
    let (server, store) = server(sha256(&weights()), &[70_000, 130_000]);
    let desk = desk(&server);
    assert_fetched(&desk, &desk.run(&["pull", SOURCE]));
    let ranges = ranges(&store);
    assert_eq!(ranges, [None, Some("bytes=70000-".into()), Some("bytes=200000-".into())]);
}

#[test]
fn a_later_pull_continues_an_earlier_one() {
    let (server, store) = server(sha256(&weights()), &[70_000, 0]);
    let desk = desk(&server);
    assert_refused(&desk.run(&["pull", SOURCE]), &["broke off", "pull again"]);
    let partial = format!("{PLACE}.{}.partial", sha256(&weights()));
    assert_eq!(desk.cached(), [partial, format!("{PLACE}.lock")]);
    assert_fetched(&desk, &desk.run(&["pull", SOURCE]));
    assert_eq!(ranges(&store).last().unwrap().as_deref(), Some("bytes=70000-"));
}

#[test]
fn a_server_that_knows_no_ranges_is_asked_for_the_whole() {
    let digest = sha256(&weights());
    let transfers = AtomicUsize::new(0);
    let server = Server::start(move |asked| {
        let answer = Answer::new("200 OK", &format!("etag: \"{digest}\"\r\n"), &weights());
        let first = asked.method == "GET" && transfers.fetch_add(1, Ordering::Relaxed) == 0;
        answer.cut(if first { 70_000 } else { usize::MAX })
    });
    let desk = desk(&server);
    assert_fetched(&desk, &desk.run(&["pull", SOURCE]));
}

#[test]
fn a_wrong_checksum_leaves_nothing_to_be_served() {
    let (server, _store) = server(sha256(b"other weights"), &[]);
    let desk = desk(&server);
    let wrong = format!("has SHA-256 {}, not {}", sha256(&weights()), sha256(b"other weights"));
    assert_refused(&desk.run(&["pull", SOURCE]), &[&wrong, "deleted"]);
    assert_eq!(desk.cached(), [format!("{PLACE}.lock")]);
}

#[test]
fn a_repository_that_moved_is_followed() {
    let digest = sha256(&weights());
    let server = Server::start(move |asked| match asked.path.as_str() {
        FILE => Answer::new("307 Temporary Redirect", "location: /new/place\r\n", b""),
        _ => Answer::new("200 OK", &format!("etag: \"{digest}\"\r\n"), &weights()),
    });
    let desk = desk(&server).set("HF_TOKEN", "hf_secret");
    assert_fetched(&desk, &desk.run(&["pull", SOURCE]));
    assert!(server.asked().iter().all(|asked| asked.token.is_some()));
}

#[test]
fn without_a_file_the_only_one_is_taken() {
    let digest = sha256(&weights());
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/api/models/org/one" => Answer::new(
            "200 OK",
            "",
            br#"{"siblings":[{"rfilename":"README.md"},{"rfilename":"tiny.gguf"}]}"#,
        ),
        "/api/models/org/two" => Answer::new(
            "200 OK",
            "",
            br#"{"siblings":[{"rfilename":"b.gguf"},{"rfilename":"a.gguf"}]}"#,
        ),
        "/api/models/org/none" => Answer::new("200 OK", "", br#"{"siblings":[]}"#),
        "/api/models/org/odd" => Answer::new("200 OK", "", b"<html>"),
        "/api/models/org/gated" => Answer::new("401 Unauthorized", "", b""),
        "/org/one/resolve/main/tiny.gguf" => {
            Answer::new("200 OK", &format!("etag: \"{digest}\"\r\n"), &weights())
        }
        _ => Answer::new("404 Not Found", "", b""),
    });
    let desk = desk(&server);
    let outcome = desk.run(&["pull", "hf:org/one"]);
    assert_eq!(outcome.out, "DESK/.cache/antiphon/models/hf/org/one/tiny.gguf\n", "{outcome:?}");
    let asked = server.asked().len();
    assert_eq!(desk.run(&["pull", "hf:org/one"]).out, outcome.out);
    assert_eq!(server.asked().len(), asked);
    for (source, words) in [
        ("hf:org/two", "name one of them: hf:org/two/a.gguf, hf:org/two/b.gguf"),
        ("hf:org/none", "hf:org/none has no GGUF file"),
        ("hf:org/odd", "list of files is malformed"),
        ("hf:org/gated", "set HF_TOKEN to a token that may read it"),
        ("hf:org/one/missing.gguf", "the server has no such file (404 Not Found)"),
    ] {
        assert_refused(&desk.run(&["pull", source]), &[words]);
    }
}

#[test]
fn offline_says_so() {
    let desk = Desk::bare().set("HF_ENDPOINT", "http://127.0.0.1:1");
    assert_refused(&desk.run(&["pull", SOURCE]), &["is this machine offline?", "--model PATH"]);
    let desk = desk.set("HF_ENDPOINT", "huggingface");
    assert_refused(&desk.run(&["pull", SOURCE]), &["HF_ENDPOINT must begin with https://"]);
}
