//! Fields that change the prompt, or what is shown of the output.

use serde_json::{Value, json};
use tests::bytes::CONTEXT;
use tests::fake::says;

use crate::harness::{MODEL, World};
use crate::transcript::{CHAT, COMPLETIONS, messages};

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
