//! Fields that change the prompt, or what is shown of the output.

use serde_json::{Value, json};

use crate::harness::{MODEL, World};
use crate::transcript::{CHAT, messages};

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
