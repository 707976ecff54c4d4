//! From the wire's chat to the runtime's request.

use runtime::{Conversation, Message, Prompt};

use super::request::{ChatMessage, ChatRequest, Role};
use super::template::Rendering;
use crate::openai::{ApiError, Ready};

/// # Errors
/// What only the engine's vocabulary of `vocab` tokens tells.
pub(crate) fn ready(chat: ChatRequest, vocab: Option<u32>) -> Result<Ready, ApiError> {
    let delivery = chat.controls.delivery;
    let messages = chat.messages.into_iter().map(message).collect();
    let Rendering { ending, variables } = chat.rendering;
    let conversation = Conversation { messages, ending, variables };
    let generate = chat.controls.with_prompt(Prompt::Chat(conversation), vocab)?;
    Ok(Ready { generate, delivery })
}

/// Parts are lines of one text, as other servers of text models have it.
fn message(message: ChatMessage) -> Message {
    Message { role: role(message.role).to_owned(), content: message.parts.join("\n") }
}

/// The role as chat templates know it: `developer` is OpenAI's newer word for `system`.
const fn role(role: Role) -> &'static str {
    match role {
        Role::Assistant => "assistant",
        Role::Developer | Role::System => "system",
        Role::Tool => "tool",
        Role::User => "user",
    }
}

#[cfg(test)]
mod tests {
    use engine_contract::Sampling;
    use runtime::ModelCard;
    use serde_json::{Value, json};

    use super::super::request;
    use super::*;
    use crate::openai::Ignored;
    use crate::openai::fields::Fields;

    fn card() -> ModelCard {
        ModelCard {
            id: "m".to_owned(),
            created: 0,
            context: 100,
            sampling: Sampling::PLAIN,
            template_variables: ["enable_thinking".to_owned()].into(),
        }
    }

    fn convert(body: Value) -> Result<(Ready, Ignored), ApiError> {
        let Value::Object(object) = body else { panic!("an object") };
        let mut ignored = Ignored::default();
        let chat = request::read(Fields::new(object), &card(), &mut ignored)?;
        Ok((ready(chat, Some(100))?, ignored))
    }

    fn messages(messages: Value) -> Result<Vec<(String, String)>, ApiError> {
        let (ready, _) = convert(json!({"model": "m", "messages": messages}))?;
        let Prompt::Chat(chat) = ready.generate.prompt else { panic!("a chat") };
        Ok(chat.messages.into_iter().map(|message| (message.role, message.content)).collect())
    }

    fn refusal(given: Value) -> String {
        messages(given).unwrap_err().to_string()
    }

    #[test]
    fn messages_of_every_role_and_of_parts() {
        let pair = |role: &str, content: &str| (role.to_owned(), content.to_owned());
        let given = json!([
            {"role": "developer", "content": "d"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "", "tool_calls": [], "refusal": null},
            {"role": "tool", "content": "t", "tool_call_id": "1"},
        ]);
        let expected =
            [pair("system", "d"), pair("user", "a\nb"), pair("assistant", ""), pair("tool", "t")];
        assert_eq!(messages(given).unwrap(), expected);
    }

    #[test]
    fn messages_are_refused_by_path() {
        assert_eq!(refusal(json!([])), "`messages` must be a list of at least one message");
        assert_eq!(refusal(json!("hi")), "`messages` must be a list, not a string");
        assert_eq!(refusal(json!([3])), "`messages[0]` must be an object, not a number");
        assert_eq!(refusal(json!([{"content": "a"}])), "`messages[0].role` is required");
        assert_eq!(
            refusal(json!([{"role": "user", "content": "a"}, {"role": "root", "content": "a"}])),
            "`messages[1].role` must be one of system, developer, user, assistant, tool"
        );
        assert_eq!(
            refusal(json!([{"role": "user", "content": null}])),
            "`messages[0].content` is required"
        );
        assert_eq!(
            refusal(json!([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}])),
            "`messages[0].content[0].type` is not supported by this server; leave it out"
        );
        assert_eq!(
            refusal(json!([{"role": "assistant", "content": "", "tool_calls": [{}]}])),
            "`messages[0].tool_calls` is not supported by this server; leave it out"
        );
    }

    #[test]
    fn unknown_fields_are_listed_with_their_paths() {
        let (_, ignored) = convert(json!({
            "model": "m",
            "messages": [{"role": "user", "content": "a", "name": "x", "weight": null}],
            "stream": true,
            "stream_options": {"include_usage": true, "colour": 1},
            "user": "u",
            "zest": 1,
        }))
        .unwrap();
        let expected = "messages[0].name, stream_options.colour, zest";
        assert_eq!(ignored.header().unwrap(), expected);
    }
}
