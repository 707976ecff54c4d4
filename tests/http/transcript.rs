//! The bytes of answers, as a client receives them.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use tests::fake::says;

use crate::client::request;
use crate::harness::{MODEL, World, eventually};

pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const COMPLETIONS: &str = "/v1/completions";

/// Everything that the server sends for one request, with what differs from run to run replaced.
///
/// Steps end one at a time, each when the text of the one before is on its way: text that waits for
/// its reader merges. With one worker, what a scrape shows was sent before anything that follows
/// it.
fn exchange(path: &str, fields: &Value) -> String {
    let world = World::with(|options| {
        options.speech = says("Hé, you!");
        options.http.workers = 1;
    });
    world.engine.hold();
    let mut client = world.connect();
    let mut body = json!({"model": MODEL});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let request = request(path, &body.to_string());
    let more = "Host: test\r\nX-Request-Id: mine-1\r\nConnection: close";
    client.send(request.replace("Host: test", more));
    if fields["stream"] == true {
        step_through(&world);
    }
    world.engine.release();
    let received = String::from_utf8(client.until_closed()).unwrap();
    world.is_quiet();
    normalise(&received)
}

/// Lets steps end one at a time until the stream is over.
fn step_through(world: &World) {
    let value = |name: &str| world.metric(&format!("antiphon_{name}{{model=\"{MODEL}\"}}"));
    world.shows(&format!("antiphon_streams_open{{model=\"{MODEL}\"}} 1"));
    for num_tokens in 1.. {
        world.engine.allow(1);
        let is_over = || value("streams_open") == 0.0;
        assert!(eventually(|| value("output_tokens_total") >= f64::from(num_tokens) || is_over()));
        if is_over() {
            return;
        }
    }
}

fn normalise(received: &str) -> String {
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    // The order of headers means nothing, and differs.
    let mut headers: Vec<_> = head.split("\r\n").collect();
    headers[1..].sort_unstable();
    let received = [&headers.join("\r\n"), body].join("\r\n\r\n");
    let mut out = String::new();
    for line in received.split_inclusive('\n') {
        let line = replace_after(line, "\"id\":\"", "-", "\"", "ID");
        let line = replace_after(&line, "\"created\":", "", ",", "TIME");
        let line = replace_after(&line, "date: ", "", "\r", "DATE");
        writeln!(out, "{}", line.escape_debug().to_string().replace("\\\"", "\"")).unwrap();
    }
    out
}

/// Replaces what stands between a mark, a second one after it, and an end.
fn replace_after(line: &str, mark: &str, second: &str, end: &str, with: &str) -> String {
    let Some(at) = line.find(mark) else { return line.to_owned() };
    let from = at + mark.len();
    let from = from + line[from..].find(second).expect("the second mark") + second.len();
    let to = from + line[from..].find(end).expect("the end");
    format!("{}{with}{}", &line[..from], &line[to..])
}

pub(crate) fn check(path: &str, fields: &Value, expected: Expect) {
    expected.assert_eq(&exchange(path, fields));
}

pub(crate) fn messages() -> Value {
    json!([{"role": "user", "content": "hi"}])
}

#[test]
fn a_chat_streams() {
    let fields = json!({"messages": messages(), "stream": true, "max_tokens": 3});
    check(
        CHAT,
        &fields,
        expect![[r#"
        HTTP/1.1 200 OK\r\n
        cache-control: no-cache\r\n
        connection: close\r\n
        content-type: text/event-stream\r\n
        date: DATE\r\n
        transfer-encoding: chunked\r\n
        x-accel-buffering: no\r\n
        x-request-id: mine-1\r\n
        \r\n
        109\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}\n
        \n
        \r\n
        F7\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"content":"H"},"logprobs":null,"finish_reason":null}]}\n
        \n
        \r\n
        F8\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"content":"é"},"logprobs":null,"finish_reason":null}]}\n
        \n
        \r\n
        EE\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}]}\n
        \n
        \r\n
        E\r\n
        data: [DONE]\n
        \n
        \r\n
        0\r\n
        \r\n
    "#]],
    );
}

#[test]
fn a_chat_streams_with_usage() {
    let options = json!({"include_usage": true});
    let fields = json!({
        "messages": messages(), "stream": true, "stream_options": options, "max_tokens": 3,
    });
    check(
        CHAT,
        &fields,
        expect![[r#"
        HTTP/1.1 200 OK\r\n
        cache-control: no-cache\r\n
        connection: close\r\n
        content-type: text/event-stream\r\n
        date: DATE\r\n
        transfer-encoding: chunked\r\n
        x-accel-buffering: no\r\n
        x-request-id: mine-1\r\n
        \r\n
        116\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}\n
        \n
        \r\n
        104\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"content":"H"},"logprobs":null,"finish_reason":null}],"usage":null}\n
        \n
        \r\n
        105\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"content":"é"},"logprobs":null,"finish_reason":null}],"usage":null}\n
        \n
        \r\n
        FB\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}],"usage":null}\n
        \n
        \r\n
        120\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[],"usage":{"prompt_tokens":21,"completion_tokens":3,"total_tokens":24,"prompt_tokens_details":{"cached_tokens":0}}}\n
        \n
        \r\n
        E\r\n
        data: [DONE]\n
        \n
        \r\n
        0\r\n
        \r\n
    "#]],
    );
}

#[test]
fn a_chat_is_answered_whole() {
    check(
        CHAT,
        &json!({"messages": messages(), "max_tokens": 3}),
        expect![[r#"
        HTTP/1.1 200 OK\r\n
        connection: close\r\n
        content-length: 388\r\n
        content-type: application/json\r\n
        date: DATE\r\n
        x-request-id: mine-1\r\n
        \r\n
        {"id":"chatcmpl-ID","object":"chat.completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"message":{"role":"assistant","content":"Hé","refusal":null},"logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":21,"completion_tokens":3,"total_tokens":24,"prompt_tokens_details":{"cached_tokens":0}}}
    "#]],
    );
}

#[test]
fn a_completion_streams() {
    check(
        COMPLETIONS,
        &json!({"prompt": "hi", "stream": true, "max_tokens": 4}),
        expect![[r#"
        HTTP/1.1 200 OK\r\n
        cache-control: no-cache\r\n
        connection: close\r\n
        content-type: text/event-stream\r\n
        date: DATE\r\n
        transfer-encoding: chunked\r\n
        x-accel-buffering: no\r\n
        x-request-id: mine-1\r\n
        \r\n
        E0\r\n
        data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"H","index":0,"logprobs":null,"finish_reason":null}]}\n
        \n
        \r\n
        E1\r\n
        data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"é","index":0,"logprobs":null,"finish_reason":null}]}\n
        \n
        \r\n
        E0\r\n
        data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":",","index":0,"logprobs":null,"finish_reason":null}]}\n
        \n
        \r\n
        E3\r\n
        data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"","index":0,"logprobs":null,"finish_reason":"length"}]}\n
        \n
        \r\n
        E\r\n
        data: [DONE]\n
        \n
        \r\n
        0\r\n
        \r\n
    "#]],
    );
}

#[test]
fn a_completion_is_answered_whole() {
    check(
        COMPLETIONS,
        &json!({"prompt": "hi", "max_tokens": 4}),
        expect![[r#"
        HTTP/1.1 200 OK\r\n
        connection: close\r\n
        content-length: 334\r\n
        content-type: application/json\r\n
        date: DATE\r\n
        x-request-id: mine-1\r\n
        \r\n
        {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"Hé,","index":0,"logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":2,"completion_tokens":4,"total_tokens":6,"prompt_tokens_details":{"cached_tokens":0}}}
    "#]],
    );
}

#[test]
fn an_end_token_is_a_stop() {
    let fields = json!({"messages": messages(), "stream": true});
    check(
        CHAT,
        &fields,
        expect![[r#"
        HTTP/1.1 200 OK\r\n
        cache-control: no-cache\r\n
        connection: close\r\n
        content-type: text/event-stream\r\n
        date: DATE\r\n
        transfer-encoding: chunked\r\n
        x-accel-buffering: no\r\n
        x-request-id: mine-1\r\n
        \r\n
        109\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}\n
        \n
        \r\n
        F7\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"content":"H"},"logprobs":null,"finish_reason":null}]}\n
        \n
        \r\n
        F8\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"content":"é"},"logprobs":null,"finish_reason":null}]}\n
        \n
        \r\n
        F7\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"content":","},"logprobs":null,"finish_reason":null}]}\n
        \n
        \r\n
        F7\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"content":" "},"logprobs":null,"finish_reason":null}]}\n
        \n
        \r\n
        F7\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"content":"y"},"logprobs":null,"finish_reason":null}]}\n
        \n
        \r\n
        F7\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"content":"o"},"logprobs":null,"finish_reason":null}]}\n
        \n
        \r\n
        F7\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"content":"u"},"logprobs":null,"finish_reason":null}]}\n
        \n
        \r\n
        F7\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"content":"!"},"logprobs":null,"finish_reason":null}]}\n
        \n
        \r\n
        EC\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}\n
        \n
        \r\n
        E\r\n
        data: [DONE]\n
        \n
        \r\n
        0\r\n
        \r\n
    "#]],
    );
}

#[test]
fn a_stop_string_ends_a_stream_and_no_part_of_it_is_sent() {
    let fields = json!({"prompt": "hi", "stream": true, "stop": [", y", "zzz"]});
    check(
        COMPLETIONS,
        &fields,
        expect![[r#"
        HTTP/1.1 200 OK\r\n
        cache-control: no-cache\r\n
        connection: close\r\n
        content-type: text/event-stream\r\n
        date: DATE\r\n
        transfer-encoding: chunked\r\n
        x-accel-buffering: no\r\n
        x-request-id: mine-1\r\n
        \r\n
        E0\r\n
        data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"H","index":0,"logprobs":null,"finish_reason":null}]}\n
        \n
        \r\n
        E1\r\n
        data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"é","index":0,"logprobs":null,"finish_reason":null}]}\n
        \n
        \r\n
        E1\r\n
        data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"","index":0,"logprobs":null,"finish_reason":"stop"}]}\n
        \n
        \r\n
        E\r\n
        data: [DONE]\n
        \n
        \r\n
        0\r\n
        \r\n
    "#]],
    );
}

#[test]
fn a_stop_string_ends_a_whole_answer() {
    check(
        COMPLETIONS,
        &json!({"prompt": "hi", "stop": "you"}),
        expect![[r#"
        HTTP/1.1 200 OK\r\n
        connection: close\r\n
        content-length: 334\r\n
        content-type: application/json\r\n
        date: DATE\r\n
        x-request-id: mine-1\r\n
        \r\n
        {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"Hé, ","index":0,"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":8,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":0}}}
    "#]],
    );
}

#[test]
fn a_refusal_is_answered_whole() {
    check(
        COMPLETIONS,
        &json!({"prompt": "hi", "temperature": "hot", "zest": 1}),
        expect![[r#"
        HTTP/1.1 400 Bad Request\r\n
        connection: close\r\n
        content-length: 143\r\n
        content-type: application/json\r\n
        date: DATE\r\n
        x-request-id: mine-1\r\n
        \r\n
        {"error":{"message":"`temperature` must be a number, not a string","type":"invalid_request_error","param":"temperature","code":"invalid_type"}}
    "#]],
    );
}
