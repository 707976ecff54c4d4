//! What is refused: each with its exact status, `param` and `code`, and the server serves on.

use engine_contract::BIASES_MAX;
use serde_json::{Map, Value, json};
use tests::bytes::{CONTEXT, VOCAB};

use crate::client::{Client, request};
use crate::harness::{MODEL, World};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

/// Fields, and what the server says of them: `param`, `code`.
type Case = (Value, &'static str, &'static str);

/// Fields of both endpoints.
fn shared() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut wrong = |field: &'static str, code: &'static str, values: Value| {
        for value in values.as_array().unwrap() {
            cases.push((json!({field: value}), field, code));
        }
    };
    let (kind, value, unsupported) = ("invalid_type", "invalid_value", "unsupported_parameter");
    for field in ["temperature", "top_p", "min_p"] {
        wrong(field, kind, json!(["1", true, [], {}]));
        wrong(field, value, json!([-0.1, 2.1, 1e300]));
    }
    wrong("top_p", value, json!([0, 0.0]));
    for field in ["max_tokens", "max_completion_tokens"] {
        wrong(field, kind, json!(["1", 1.5, 1.0, true, [], {}]));
        wrong(field, value, json!([0, -1, 4_294_967_296_u64, 1e300]));
    }
    wrong("min_tokens", kind, json!(["1", 0.5, false, []]));
    wrong("min_tokens", value, json!([-1]));
    wrong("top_k", kind, json!(["1", 0.5, true, {}]));
    wrong("top_k", value, json!([-2, 4_294_967_296_u64]));
    wrong("seed", kind, json!(["1", 0.5, true, []]));
    wrong("seed", value, json!([1e300]));
    for field in ["stream", "ignore_eos"] {
        wrong(field, kind, json!(["true", 1, [], {}]));
    }
    wrong("stream_options", value, json!([{}, {"include_usage": true}]));
    wrong("stop", kind, json!([1, true, {}]));
    wrong("stop", value, json!([vec!["x"; 17]]));
    wrong("stop_token_ids", kind, json!([1, "1", {}]));
    wrong("n", kind, json!(["1", 1.5, true, []]));
    wrong("n", value, json!([0, -1]));
    wrong("n", unsupported, json!([2, 128]));
    wrong("user", kind, json!([1, [], {}]));
    wrong("metadata", kind, json!([1, "a", []]));
    for field in ["presence_penalty", "frequency_penalty", "repetition_penalty"] {
        wrong(field, kind, json!(["0", true, [], {}]));
        wrong(field, value, json!([-2.5, 1e300]));
    }
    wrong("repetition_penalty", value, json!([0, -1]));
    wrong("best_of", unsupported, json!([2]));
    wrong("echo", unsupported, json!([true]));
    wrong("echo", kind, json!(["false", 0]));
    wrong("logit_bias", kind, json!([1, "1", [1]]));
    wrong("response_format", unsupported, json!([{"type": "json_object"}, "text", 1]));
    wrong("guided_json", unsupported, json!([{}, "{}", false]));
    wrong("prompt_logprobs", unsupported, json!([1]));
    cases.extend(of_biases());
    cases.extend(of_tokens());
    cases.extend([
        (json!({"stop": [""]}), "stop[0]", value),
        (json!({"stop": ""}), "stop", value),
        (json!({"stop": ["a", 1]}), "stop[1]", kind),
        (json!({"stop": ["a", null]}), "stop[1]", kind),
        (json!({"stop": ["x".repeat(1025)]}), "stop[0]", value),
        (json!({"stop_token_ids": [1, "2"]}), "stop_token_ids[1]", kind),
        (json!({"stop_token_ids": [-1]}), "stop_token_ids[0]", value),
        (json!({"stop_token_ids": [0, VOCAB]}), "stop_token_ids[1]", value),
        (json!({"stop_token_ids": vec![1; 129]}), "stop_token_ids", value),
        (json!({"stream": true, "stream_options": []}), "stream_options", kind),
        (
            json!({"stream": true, "stream_options": {"include_usage": 1}}),
            "stream_options.include_usage",
            kind,
        ),
        (json!({"max_tokens": 3, "min_tokens": 4}), "min_tokens", value),
        (json!({"model": 1}), "model", kind),
        (json!({"model": null}), "model", value),
    ]);
    cases
}

fn of_tokens() -> Vec<Case> {
    let (kind, value) = ("invalid_type", "invalid_value");
    let flags = [
        "add_special_tokens",
        "include_stop_str_in_output",
        "return_token_ids",
        "return_tokens_as_token_ids",
        "skip_special_tokens",
    ];
    let wrong = [json!("true"), json!(1), json!([])];
    let pairs = flags.iter().flat_map(|&flag| wrong.iter().map(move |wrong| (flag, wrong)));
    let mut cases: Vec<Case> = pairs.map(|(flag, it)| (json!({flag: it}), flag, kind)).collect();
    let field = "truncate_prompt_tokens";
    for (wrong, code) in [
        (json!("1"), kind),
        (json!(1.5), kind),
        (json!(true), kind),
        (json!(0), value),
        (json!(-2), value),
        (json!(4_294_967_296_u64), value),
    ] {
        cases.push((json!({field: wrong}), field, code));
    }
    cases
}

fn of_biases() -> Vec<Case> {
    let (kind, value) = ("invalid_type", "invalid_value");
    let many: Map<_, _> = (0..=BIASES_MAX).map(|token| (token.to_string(), json!(1))).collect();
    vec![
        (json!({"logit_bias": {"1": "5"}}), "logit_bias.1", kind),
        (json!({"logit_bias": {"1": 101}}), "logit_bias.1", value),
        (json!({"logit_bias": {"a": 1}}), "logit_bias.a", value),
        (json!({"logit_bias": {VOCAB.to_string(): 1}}), "logit_bias.258", value),
        (json!({"logit_bias": many}), "logit_bias", value),
    ]
}

fn of_chats() -> Vec<Case> {
    let (kind, value, unsupported) = ("invalid_type", "invalid_value", "unsupported_parameter");
    let one = |message: Value| json!({"messages": [message]});
    let part = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
    vec![
        (json!({"messages": null}), "messages", value),
        (json!({"messages": []}), "messages", value),
        (json!({"messages": "hi"}), "messages", kind),
        (json!({"messages": {}}), "messages", kind),
        (
            json!({"messages": vec![json!({"role": "user", "content": ""}); 4097]}),
            "messages",
            value,
        ),
        (one(json!("hi")), "messages[0]", kind),
        (one(json!(null)), "messages[0]", kind),
        (one(json!({"content": "a"})), "messages[0].role", value),
        (one(json!({"role": 1, "content": "a"})), "messages[0].role", kind),
        (one(json!({"role": "root", "content": "a"})), "messages[0].role", value),
        (one(json!({"role": "user"})), "messages[0].content", value),
        (one(json!({"role": "user", "content": null})), "messages[0].content", value),
        (one(json!({"role": "user", "content": 1})), "messages[0].content", kind),
        (part(json!("a")), "messages[0].content[0]", kind),
        (part(json!({"text": "a"})), "messages[0].content[0].type", value),
        (part(json!({"type": "txt"})), "messages[0].content[0].type", value),
        (part(json!({"type": "text"})), "messages[0].content[0].text", value),
        (part(json!({"type": "text", "text": 1})), "messages[0].content[0].text", kind),
        (
            part(json!({"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/a.png"}})),
            "messages[0].content[0].type",
            unsupported,
        ),
        (
            one(json!({"role": "assistant", "content": "a", "tool_calls": [{"id": "1"}]})),
            "messages[0].tool_calls",
            unsupported,
        ),
        (json!({"tools": [{"type": "function"}]}), "tools", unsupported),
        (json!({"tool_choice": "required"}), "tool_choice", unsupported),
        (json!({"logprobs": 1}), "logprobs", kind),
        (json!({"top_logprobs": 5}), "top_logprobs", value),
        (json!({"logprobs": true, "top_logprobs": 21}), "top_logprobs", value),
        (json!({"logprobs": true, "top_logprobs": true}), "top_logprobs", kind),
        (json!({"chat_template": "{{ 1 }}"}), "chat_template", unsupported),
        (json!({"modalities": ["audio"]}), "modalities", unsupported),
        (json!({"max_tokens": 3, "max_completion_tokens": 4}), "max_tokens", value),
    ]
}

fn of_templates() -> Vec<Case> {
    let (kind, value, unsupported) = ("invalid_type", "invalid_value", "unsupported_parameter");
    vec![
        (json!({"chat_template_kwargs": []}), "chat_template_kwargs", kind),
        (json!({"chat_template_kwargs": {"messages": []}}), "chat_template_kwargs.messages", value),
        (
            json!({"chat_template_kwargs": {"enable_thinking": "x".repeat(1 << 16)}}),
            "chat_template_kwargs",
            value,
        ),
        (json!({"add_generation_prompt": 1}), "add_generation_prompt", kind),
        (json!({"continue_final_message": "true"}), "continue_final_message", kind),
        (json!({"continue_final_message": true}), "continue_final_message", value),
        (
            json!({
                "messages": [{"role": "assistant", "content": "a"}],
                "continue_final_message": true, "add_generation_prompt": true,
            }),
            "continue_final_message",
            value,
        ),
        (json!({"reasoning_effort": 1}), "reasoning_effort", kind),
        (json!({"reasoning_effort": "lots"}), "reasoning_effort", value),
        (json!({"reasoning_effort": "low"}), "reasoning_effort", unsupported),
        (
            json!({
                "reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": true},
            }),
            "reasoning_effort",
            value,
        ),
    ]
}

fn of_completions() -> Vec<Case> {
    let (kind, value, unsupported) = ("invalid_type", "invalid_value", "unsupported_parameter");
    vec![
        (json!({"prompt": null}), "prompt", value),
        (json!({"prompt": []}), "prompt", value),
        (json!({"prompt": [[]]}), "prompt", value),
        (json!({"prompt": 1}), "prompt", kind),
        (json!({"prompt": {}}), "prompt", kind),
        (json!({"prompt": ["a", "b"]}), "prompt", unsupported),
        (json!({"prompt": [[1], [2]]}), "prompt", unsupported),
        (json!({"prompt": [1, "a"]}), "prompt[1]", kind),
        (json!({"prompt": [1, 2.5]}), "prompt[1]", kind),
        (json!({"prompt": [1, -1]}), "prompt[1]", value),
        (json!({"prompt": [0, VOCAB]}), "prompt[1]", value),
        (json!({"prompt": vec![1; CONTEXT as usize]}), "prompt", "context_length_exceeded"),
        (json!({"logprobs": 21}), "logprobs", value),
        (json!({"logprobs": true}), "logprobs", kind),
        (json!({"suffix": "end"}), "suffix", unsupported),
        (json!({"max_tokens": 4, "max_completion_tokens": 3}), "max_completion_tokens", value),
    ]
}

/// A valid body of an endpoint with some fields replaced.
fn body(path: &str, fields: &Value) -> String {
    let mut body = match path {
        CHAT => json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}),
        _ => json!({"model": MODEL, "prompt": "hi"}),
    };
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

fn serves(client: &mut Client) {
    client.post(COMPLETIONS, body(COMPLETIONS, &json!({"max_tokens": 1})));
    assert_eq!(client.answer().head.status, 200);
}

#[test]
fn every_field_of_a_wrong_type_or_value_is_named() {
    let world = World::start();
    let mut client = world.connect();
    let tables = [
        (CHAT, shared()),
        (COMPLETIONS, shared()),
        (CHAT, of_chats()),
        (CHAT, of_templates()),
        (COMPLETIONS, of_completions()),
    ];
    for (path, cases) in tables {
        for (fields, param, code) in cases {
            client.post(path, body(path, &fields));
            let answer = client.answer();
            let expected = (400, Some(param.to_owned()), code.to_owned());
            assert_eq!(answer.error(), expected, "{path} {fields} {answer:?}");
            assert!(answer.head.header("x-request-id").is_some());
        }
        serves(&mut client);
    }
    world.is_quiet();
}

#[test]
fn bodies_that_are_no_json_object_are_invalid_json() {
    let world = World::start();
    let mut client = world.connect();
    let valid = body(CHAT, &json!({}));
    let with = |field: &str| valid.replacen('{', &format!("{{{field},"), 1).into_bytes();
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"{".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"\"text\"".to_vec(),
        valid.as_bytes()[..valid.len() - 1].to_vec(),
        format!("{valid}{valid}").into_bytes(),
        with(r#""temperature":NaN"#),
        with(r#""temperature":Infinity"#),
        with(r#""temperature":1e400"#),
        with(r#""user":"\ud800""#),
        with(r#""user":"\udc00""#),
        with(r#""user":"\x00""#),
        with("\"user\":\"\n\""),
        with(&format!(r#""a":{}{}"#, "[".repeat(200), "]".repeat(200))),
        with(&format!(r#""a":{}"#, "{\"a\":".repeat(100_000))),
        with(&format!(r#""a":[{}0]"#, "0,".repeat(300_000))),
        [b"{\"user\":\"\xff\",", &valid.as_bytes()[1..]].concat(),
        [b"\xff", valid.as_bytes()].concat(),
        [b"\xef\xbb\xbf", valid.as_bytes()].concat(),
    ];
    for body in bodies {
        for path in [CHAT, COMPLETIONS] {
            client.send(request(path, "").replace("Length: 0", &format!("Length: {}", body.len())));
            client.send(&body);
            let answer = client.answer();
            assert_eq!(answer.error(), (400, None, "invalid_json".to_owned()), "{answer:?}");
        }
        serves(&mut client);
    }
}

#[test]
fn a_message_repeats_little_of_its_input_and_escapes_it() {
    let world = World::start();
    let mut client = world.connect();
    let model = format!("../../etc/passwd\u{202e}\0\n<b>{}", "x".repeat(100_000));
    client.post(CHAT, body(CHAT, &json!({"model": model})));
    let answer = client.answer();
    assert_eq!(answer.error(), (404, Some("model".to_owned()), "model_not_found".to_owned()));
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    let quoted = format!(r"../../etc/passwd\u{{202e}}\0\n<b>{}…", "x".repeat(33));
    assert_eq!(message, format!("the model `{quoted}` does not exist"));
}

#[test]
fn a_prompt_beyond_the_context_is_told_both_numbers() {
    let world = World::start();
    let mut client = world.connect();
    let tokens = |count: u32| json!({"prompt": vec![1; count as usize], "max_tokens": 5});
    client.post(COMPLETIONS, body(COMPLETIONS, &tokens(CONTEXT + 7)));
    let answer = client.answer();
    let code = "context_length_exceeded".to_owned();
    assert_eq!(answer.error(), (400, Some("prompt".to_owned()), code));
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains(&(CONTEXT + 7).to_string()), "{message}");
    assert!(message.contains(&CONTEXT.to_string()), "{message}");

    client.post(COMPLETIONS, body(COMPLETIONS, &tokens(CONTEXT - 1)));
    let answer = client.answer();
    assert_eq!(answer.head.status, 200);
    assert_eq!(answer.json()["usage"]["completion_tokens"], 1);
    assert_eq!(answer.json()["choices"][0]["finish_reason"], "length");
}

#[test]
fn bodies_of_another_kind_are_415() {
    let world = World::start();
    let mut client = world.connect();
    let json = request(CHAT, &body(CHAT, &json!({"max_tokens": 1})));
    let kind = "Content-Type: application/json";
    for replaced in [
        "Content-Type: text/plain",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Type: multipart/form-data; boundary=x",
        "Content-Type: application/json; charset=utf-16",
        "Content-Type: application/json\r\nContent-Type: text/plain",
        "X-Nothing: 1",
        "Content-Type: application/json\r\nContent-Encoding: gzip",
        "Content-Type: application/json\r\nContent-Encoding: identity, br",
    ] {
        let mut client = world.connect();
        client.send(json.replace(kind, replaced));
        let expected = (415, None, "unsupported_media_type".to_owned());
        assert_eq!(client.answer().error(), expected, "{replaced}");
    }
    client.send(json.replace(kind, "content-type: Application/JSON; Charset=\"UTF-8\""));
    assert_eq!(client.answer().head.status, 200);
}

#[test]
fn a_body_that_announces_too_much_is_refused_before_it_is_sent() {
    let world = World::start();
    let mut client = world.connect();
    let bytes = world.config.body_bytes_max + 1;
    client.send(request(CHAT, "").replace("Length: 0", &format!("Length: {bytes}")));
    let answer = client.answer();
    assert_eq!(answer.error(), (413, None, "body_too_large".to_owned()));
    assert_eq!(answer.head.header("connection"), Some("close"));
    serves(&mut world.connect());
}

#[test]
fn a_body_that_turns_out_too_large_is_refused_at_the_limit() {
    let world = World::start();
    let mut client = world.connect();
    let head = request(CHAT, "").replace("Content-Length: 0", "Transfer-Encoding: chunked");
    client.send(head);
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
    for _ in 0..=world.config.body_bytes_max / 0x10000 {
        client.send(&chunk);
    }
    let answer = client.answer();
    assert_eq!(answer.error(), (413, None, "body_too_large".to_owned()));
    assert_eq!(answer.head.header("connection"), Some("close"));
    serves(&mut world.connect());
}

#[test]
fn a_body_of_exactly_the_limit_is_taken() {
    let world = World::start();
    let mut client = world.connect();
    let mut json = body(CHAT, &json!({"max_tokens": 1}));
    json.push_str(&" ".repeat(world.config.body_bytes_max - json.len()));
    client.post(CHAT, json);
    assert_eq!(client.answer().head.status, 200);
}

#[test]
fn a_body_that_stays_away_is_408() {
    let world = World::with(|options| options.http.body_timeout_ms = 50);
    let mut client = world.connect();
    client.send(request(CHAT, "").replace("Length: 0", "Length: 10"));
    let answer = client.answer();
    assert_eq!(answer.error(), (408, None, "request_timeout".to_owned()));
    serves(&mut world.connect());
}

#[test]
fn unknown_routes_and_methods_are_json_errors() {
    let world = World::start();
    let mut client = world.connect();
    for path in ["/", "/v1", "/v1/chat", "/v1/chat/completions/", "/v1/models/", "/%00", "/v1/../x"]
    {
        client.get(path);
        assert_eq!(client.answer().error(), (404, None, "unknown_url".to_owned()), "{path}");
    }
    for (method, path, allow) in [
        ("GET", CHAT, "POST"),
        ("PUT", COMPLETIONS, "POST"),
        ("DELETE", "/v1/models", "GET, HEAD"),
        ("POST", "/v1/models/fake", "GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
        ("OPTIONS", "/ready", "GET, HEAD"),
        ("BREW", "/metrics", "GET, HEAD"),
    ] {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n"));
        let answer = client.answer();
        assert_eq!(answer.error(), (405, None, "method_not_allowed".to_owned()), "{method} {path}");
        assert_eq!(answer.head.header("allow"), Some(allow));
    }
    client.get("/v1/models/other%2Fmodel");
    let expected = (404, Some("model".to_owned()), "model_not_found".to_owned());
    assert_eq!(client.answer().error(), expected);
    serves(&mut client);
}

#[test]
fn heads_beyond_bounds_are_414_and_431() {
    let world = World::start();
    let mut client = world.connect();
    client.get(&format!("/health?{}", "x".repeat(9000)));
    assert_eq!(client.answer().error(), (414, None, "uri_too_long".to_owned()));
    let mut client = world.connect();
    let header = "x".repeat(17_000);
    client.send(format!("GET /health HTTP/1.1\r\nHost: t\r\nX-Long: {header}\r\n\r\n"));
    assert_eq!(client.answer().error(), (431, None, "headers_too_large".to_owned()));
    serves(&mut world.connect());
}
