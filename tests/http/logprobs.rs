//! Penalties and biases on their way to the engine, and log-probabilities on their way back.

use engine_contract::{Bias, Sampling};
use expect_test::expect;
use serde_json::{Value, json};
use tests::bytes::byte;

use crate::client::request;
use crate::harness::{MODEL, World};
use crate::transcript::{CHAT, COMPLETIONS, check, messages};

#[test]
fn a_chat_streams_log_probabilities() {
    let fields = json!({
        "messages": messages(), "stream": true, "max_tokens": 3, "logprobs": true,
        "top_logprobs": 2,
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
        109\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}\n
        \n
        \r\n
        19E\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"content":"H"},"logprobs":{"content":[{"token":"H","logprob":-0.5,"bytes":[72],"top_logprobs":[{"token":"H","logprob":-0.5,"bytes":[72]},{"token":"I","logprob":-1.5,"bytes":[73]}]}],"refusal":null},"finish_reason":null}]}\n
        \n
        \r\n
        240\r\n
        data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"content":"é"},"logprobs":{"content":[{"token":"�","logprob":-0.5,"bytes":[195],"top_logprobs":[{"token":"�","logprob":-0.5,"bytes":[195]},{"token":"�","logprob":-1.5,"bytes":[196]}]},{"token":"�","logprob":-0.5,"bytes":[169],"top_logprobs":[{"token":"�","logprob":-0.5,"bytes":[169]},{"token":"�","logprob":-1.5,"bytes":[170]}]}],"refusal":null},"finish_reason":null}]}\n
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
fn a_chat_is_answered_with_log_probabilities() {
    let fields = json!({"messages": messages(), "max_tokens": 1, "logprobs": true});
    check(
        CHAT,
        &fields,
        expect![[r#"
        HTTP/1.1 200 OK\r\n
        connection: close\r\n
        content-length: 470\r\n
        content-type: application/json\r\n
        date: DATE\r\n
        x-request-id: mine-1\r\n
        \r\n
        {"id":"chatcmpl-ID","object":"chat.completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"message":{"role":"assistant","content":"H","refusal":null},"logprobs":{"content":[{"token":"H","logprob":-0.5,"bytes":[72],"top_logprobs":[]}],"refusal":null},"finish_reason":"length"}],"usage":{"prompt_tokens":21,"completion_tokens":1,"total_tokens":22,"prompt_tokens_details":{"cached_tokens":0}}}
    "#]],
    );
}

#[test]
fn a_completion_streams_log_probabilities() {
    let fields = json!({"prompt": "hi", "stream": true, "max_tokens": 4, "logprobs": 1});
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
        132\r\n
        data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"H","index":0,"logprobs":{"tokens":["H"],"token_logprobs":[-0.5],"top_logprobs":[{"H":-0.5}],"text_offset":[0]},"finish_reason":null}]}\n
        \n
        \r\n
        171\r\n
        data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"é","index":0,"logprobs":{"tokens":["bytes:\\\\xc3","bytes:\\\\xa9"],"token_logprobs":[-0.5,-0.5],"top_logprobs":[{"bytes:\\\\xc3":-0.5},{"bytes:\\\\xa9":-0.5}],"text_offset":[1,2]},"finish_reason":null}]}\n
        \n
        \r\n
        132\r\n
        data: {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":",","index":0,"logprobs":{"tokens":[","],"token_logprobs":[-0.5],"top_logprobs":[{",":-0.5}],"text_offset":[2]},"finish_reason":null}]}\n
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
fn a_completion_is_answered_with_log_probabilities() {
    let fields = json!({"prompt": "hi", "max_tokens": 3, "logprobs": 0});
    check(
        COMPLETIONS,
        &fields,
        expect![[r#"
        HTTP/1.1 200 OK\r\n
        connection: close\r\n
        content-length: 499\r\n
        content-type: application/json\r\n
        date: DATE\r\n
        x-request-id: mine-1\r\n
        \r\n
        {"id":"cmpl-ID","object":"text_completion","created":TIME,"model":"fake","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"Hé","index":0,"logprobs":{"tokens":["H","bytes:\\\\xc3","bytes:\\\\xa9"],"token_logprobs":[-0.5,-0.5,-0.5],"top_logprobs":[{"H":-0.5},{"bytes:\\\\xc3":-0.5},{"bytes:\\\\xa9":-0.5}],"text_offset":[0,1,2]},"finish_reason":"length"}],"usage":{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":0}}}
    "#]],
    );
}

#[test]
fn what_a_client_wishes_is_what_the_engine_is_asked_for() {
    let world = World::start();
    let asked = |path: &str, fields: Value| {
        let mut body = json!({
            "model": MODEL, "max_tokens": 1, "seed": 3, "temperature": 0.5,
            "presence_penalty": 0.5, "frequency_penalty": -0.25, "repetition_penalty": 1.25,
            "logit_bias": {"98": -100, "97": 2.5},
        });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let mut client = world.connect();
        client.send(request(path, &body.to_string()));
        assert_eq!(client.answer().head.status, 200);
        Sampling::clone(world.engine.samplings().last().unwrap())
    };
    let expected = |logprobs| Sampling {
        seed: 3,
        temperature: 0.5,
        presence_penalty: 0.5,
        frequency_penalty: -0.25,
        repetition_penalty: 1.25,
        biases: vec![
            Bias { token: byte(b'a'), bias: 2.5 },
            Bias { token: byte(b'b'), bias: -100.0 },
        ],
        logprobs,
        ..Sampling::PLAIN
    };
    assert_eq!(asked(CHAT, json!({"messages": messages()})), expected(None));
    let fields = json!({"messages": messages(), "logprobs": true, "top_logprobs": 20});
    assert_eq!(asked(CHAT, fields), expected(Some(20)));
    assert_eq!(asked(COMPLETIONS, json!({"prompt": "hi", "logprobs": 7})), expected(Some(7)));
    assert_eq!(asked(COMPLETIONS, json!({"prompt": "hi"})), expected(None));
}
