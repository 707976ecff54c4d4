//! Fields that change the prompt, or what is shown of the output.

use expect_test::expect;
use serde_json::{Value, json};
use tests::bytes::CONTEXT;
use tests::fake::says;

use crate::client::request;
use crate::harness::{MODEL, World};
use crate::transcript::{CHAT, COMPLETIONS, check, messages};

/// The fields of one request, and the prompt's tokens that they make.
fn prompt_tokens(world: &World, path: &str, fields: &Value) -> Value {
    let mut body = json!({"model": MODEL, "max_tokens": 1});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let mut client = world.connect();
    client.post(path, body.to_string());
    client.answer().json()["usage"]["prompt_tokens"].clone()
}

#[test]
fn the_chat_template_is_told_how_to_end_and_its_variables() {
    let world = World::start();
    let begun = json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ab"}]);
    let (user, answer, thought) = (10, 11, 15);
    for (fields, expected) in [
        (json!({"messages": messages()}), user + answer),
        (json!({"messages": messages(), "add_generation_prompt": true}), user + answer),
        (json!({"messages": messages(), "add_generation_prompt": false}), user),
        (json!({"messages": begun, "continue_final_message": true}), user + answer + 2),
        (
            json!({"messages": messages(), "chat_template_kwargs": {"enable_thinking": false}}),
            user + answer + thought,
        ),
        (
            json!({"messages": messages(), "chat_template_kwargs": {"enable_thinking": true}}),
            user + answer,
        ),
        (json!({"messages": messages(), "reasoning_effort": "none"}), user + answer + thought),
    ] {
        assert_eq!(prompt_tokens(&world, CHAT, &fields), expected, "{fields}");
    }
}

#[test]
fn a_variable_that_the_template_does_not_read_is_listed() {
    let world = World::start();
    let mut client = world.connect();
    let body = json!({
        "model": MODEL, "messages": messages(), "max_tokens": 1,
        "chat_template_kwargs": {"enable_thinking": true, "colour": "red"},
    });
    client.post(CHAT, body.to_string());
    let answer = client.answer();
    let listed = answer.head.header("x-antiphon-ignored-fields");
    assert_eq!((answer.head.status, listed), (200, Some("chat_template_kwargs.colour")));
}

#[test]
fn of_a_long_prompt_the_last_tokens_count() {
    let world = World::start();
    let long = "x".repeat(CONTEXT as usize * 2);
    let tokens = vec![1; CONTEXT as usize * 2];
    for (fields, expected) in [
        (json!({"prompt": "hello", "truncate_prompt_tokens": 3}), 3),
        (json!({"prompt": "hello", "truncate_prompt_tokens": 9}), 5),
        (json!({"prompt": long, "truncate_prompt_tokens": -1, "max_tokens": 5}), CONTEXT - 5),
        (json!({"prompt": tokens, "truncate_prompt_tokens": -1, "max_tokens": 5}), CONTEXT - 5),
        (json!({"prompt": [1, 2, 3], "truncate_prompt_tokens": 2}), 2),
    ] {
        assert_eq!(prompt_tokens(&world, COMPLETIONS, &fields), expected, "{fields}");
    }
}

#[test]
fn fields_that_nobody_knows_are_refused_by_name_where_the_client_is_strict() {
    let world = World::start();
    let mut client = world.connect();
    let known = json!({"model": MODEL, "messages": messages(), "max_tokens": 1});
    let mut post = |strict: &str, body: &Value| {
        let strict = format!("Host: test\r\nX-Antiphon-Strict: {strict}");
        client.send(request(CHAT, &body.to_string()).replace("Host: test", &strict));
        client.answer()
    };
    assert_eq!(post("true", &known).head.status, 200);
    for (field, value, path) in [
        ("zest", json!(1), "zest"),
        ("a\u{202e}b", json!(1), "a\\u{202e}b"),
        ("messages", json!([{"role": "user", "content": "hi", "name": "x"}]), "messages[0].name"),
        ("chat_template_kwargs", json!({"colour": 1}), "chat_template_kwargs.colour"),
    ] {
        let mut body = known.clone();
        body[field] = value;
        let expected = (400, Some(path.to_owned()), "unknown_parameter".to_owned());
        assert_eq!(post("true", &body).error(), expected, "{body}");
        assert_eq!(post("false", &body).head.status, 200);
    }
    let expected = (400, Some("x-antiphon-strict".to_owned()), "invalid_value".to_owned());
    assert_eq!(post("yes", &known).error(), expected);
}

/// The one choice of a whole answer.
fn choice(world: &World, fields: &Value) -> Value {
    let mut body = json!({"model": MODEL, "prompt": "hi"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let mut client = world.connect();
    client.post(COMPLETIONS, body.to_string());
    client.answer().json()["choices"][0].clone()
}

#[test]
fn what_ends_the_output_and_control_tokens_are_shown_where_that_is_asked_for() {
    let world = World::with(|options| options.speech = says("abcd"));
    for (fields, expected) in [
        (json!({"stop": "bc"}), "a"),
        (json!({"stop": "bc", "include_stop_str_in_output": true}), "abc"),
        (json!({"stop_token_ids": [98]}), "a"),
        (json!({"stop_token_ids": [98], "include_stop_str_in_output": true}), "ab"),
        (json!({"stop": "de", "include_stop_str_in_output": true}), "abcd"),
        (json!({"skip_special_tokens": false}), "abcd"),
        (
            json!({"skip_special_tokens": false, "include_stop_str_in_output": true}),
            "abcd<|im_end|>",
        ),
        (
            json!({"skip_special_tokens": false, "ignore_eos": true, "max_tokens": 5}),
            "abcd<|im_end|>",
        ),
        (json!({"ignore_eos": true, "max_tokens": 5}), "abcd"),
    ] {
        assert_eq!(choice(&world, &fields)["text"], expected, "{fields}");
    }
}

#[test]
fn log_probabilities_name_tokens_by_their_ids_where_that_is_asked_for() {
    let world = World::with(|options| options.speech = says("ab"));
    let fields = json!({"logprobs": 1, "return_tokens_as_token_ids": true});
    let logprobs = &choice(&world, &fields)["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["token_id:97", "token_id:98"]));
    assert!(logprobs["top_logprobs"][0]["token_id:97"].is_number(), "{logprobs}");
}

#[test]
fn a_chat_streams_tokens() {
    check(
        CHAT,
        &json!({"messages": messages(), "stream": true, "max_tokens": 2, "return_token_ids": true}),
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
            16D\r\n
            data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":[256,117,115,101,114,10,104,105,257,10,256,97,115,115,105,115,116,97,110,116,10]}\n
            \n
            \r\n
            108\r\n
            data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"content":"H"},"logprobs":null,"finish_reason":null,"token_ids":[72]}]}\n
            \n
            \r\n
            10B\r\n
            data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"content":"�"},"logprobs":null,"finish_reason":null,"token_ids":[195]}]}\n
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
fn a_chat_is_answered_with_tokens() {
    check(
        CHAT,
        &json!({"messages": messages(), "return_token_ids": true}),
        expect![[r#"
        HTTP/1.1 200 OK\r\n
        connection: close\r\n
        content-length: 543\r\n
        content-type: application/json\r\n
        date: DATE\r\n
        x-request-id: mine-1\r\n
        \r\n
        {"id":"chatcmpl-ID","object":"chat.completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"message":{"role":"assistant","content":"Hé, you!","refusal":null},"logprobs":null,"finish_reason":"stop","token_ids":[72,195,169,44,32,121,111,117,33,257]}],"usage":{"prompt_tokens":21,"completion_tokens":10,"total_tokens":31,"prompt_tokens_details":{"cached_tokens":0}},"prompt_token_ids":[256,117,115,101,114,10,104,105,257,10,256,97,115,115,105,115,116,97,110,116,10]}
    "#]],
    );
}

#[test]
fn a_completion_streams_tokens() {
    check(
        COMPLETIONS,
        &json!({"prompt": "hi", "stream": true, "return_token_ids": true}),
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
            10B\r\n
            data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"","index":0,"logprobs":null,"finish_reason":null,"prompt_token_ids":[104,105],"token_ids":[]}]}\n
            \n
            \r\n
            F1\r\n
            data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"H","index":0,"logprobs":null,"finish_reason":null,"token_ids":[72]}]}\n
            \n
            \r\n
            F7\r\n
            data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"é","index":0,"logprobs":null,"finish_reason":null,"token_ids":[195,169]}]}\n
            \n
            \r\n
            F1\r\n
            data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":",","index":0,"logprobs":null,"finish_reason":null,"token_ids":[44]}]}\n
            \n
            \r\n
            F1\r\n
            data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":" ","index":0,"logprobs":null,"finish_reason":null,"token_ids":[32]}]}\n
            \n
            \r\n
            F2\r\n
            data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"y","index":0,"logprobs":null,"finish_reason":null,"token_ids":[121]}]}\n
            \n
            \r\n
            F2\r\n
            data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"o","index":0,"logprobs":null,"finish_reason":null,"token_ids":[111]}]}\n
            \n
            \r\n
            F2\r\n
            data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"u","index":0,"logprobs":null,"finish_reason":null,"token_ids":[117]}]}\n
            \n
            \r\n
            F1\r\n
            data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"!","index":0,"logprobs":null,"finish_reason":null,"token_ids":[33]}]}\n
            \n
            \r\n
            F1\r\n
            data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"","index":0,"logprobs":null,"finish_reason":null,"token_ids":[257]}]}\n
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
fn a_completion_is_answered_with_tokens() {
    check(
        COMPLETIONS,
        &json!({"prompt": "hi", "max_tokens": 3, "return_token_ids": true}),
        expect![[r#"
            HTTP/1.1 200 OK\r\n
            connection: close\r\n
            content-length: 387\r\n
            content-type: application/json\r\n
            date: DATE\r\n
            x-request-id: mine-1\r\n
            \r\n
            {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"Hé","index":0,"logprobs":null,"finish_reason":"length","token_ids":[72,195,169],"prompt_token_ids":[104,105]}],"usage":{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":0}}}
        "#]],
    );
}
