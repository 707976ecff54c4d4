//! From the wire's completion to the runtime's request.

use engine_contract::TokenId;
use runtime::Prompt;

use super::request::{CompletionRequest, WirePrompt};
use crate::openai::controls::check_vocabulary;
use crate::openai::{ApiError, Ready};

/// # Errors
/// What only the engine's vocabulary of `vocab` tokens tells.
pub(crate) fn ready(completion: CompletionRequest, vocab: Option<u32>) -> Result<Ready, ApiError> {
    let delivery = completion.controls.delivery;
    let prompt = match completion.prompt {
        WirePrompt::Text(text) => Prompt::Text(text),
        WirePrompt::Tokens { path, tokens } => {
            check_vocabulary(&path, tokens.iter().copied(), vocab)?;
            Prompt::Tokens(tokens.into_iter().map(TokenId).collect())
        }
    };
    let generate = completion.controls.with_prompt(prompt, vocab)?;
    Ok(Ready { generate, delivery })
}

#[cfg(test)]
mod tests {
    use engine_contract::Sampling;
    use serde_json::{Value, json};

    use super::super::request;
    use super::*;
    use crate::openai::Ignored;
    use crate::openai::fields::Fields;

    fn convert(body: Value) -> Result<Ready, ApiError> {
        let Value::Object(object) = body else { panic!("an object") };
        ready(
            request::read(Fields::new(object), &Sampling::PLAIN, &mut Ignored::default())?,
            Some(100),
        )
    }

    fn prompt(prompt: Value) -> Result<Prompt, ApiError> {
        convert(json!({"model": "m", "prompt": prompt})).map(|ready| ready.generate.prompt)
    }

    fn refusal(given: Value) -> String {
        prompt(given).unwrap_err().to_string()
    }

    #[test]
    fn a_prompt_is_text_or_tokens_or_a_list_of_one() {
        for given in [json!("hi"), json!(["hi"])] {
            assert!(matches!(prompt(given).unwrap(), Prompt::Text(text) if text == "hi"));
        }
        for given in [json!([1, 99]), json!([[1, 99]])] {
            let expected = [TokenId(1), TokenId(99)];
            assert!(matches!(prompt(given).unwrap(), Prompt::Tokens(ids) if *ids == expected));
        }
    }

    #[test]
    fn other_prompts_are_refused_by_path() {
        let many = "`prompt` must be one prompt: lists of several are not supported by this server";
        assert_eq!(refusal(json!(["a", "b"])), many);
        assert_eq!(refusal(json!([[1], [2]])), many);
        assert_eq!(refusal(json!([])), "`prompt` must be a string or a list of at least one token");
        assert_eq!(
            refusal(json!(3)),
            "`prompt` must be a string or a list of tokens, not a number"
        );
        assert_eq!(refusal(json!([1, "a"])), "`prompt[1]` must be an integer, not a string");
        assert_eq!(refusal(json!([[1, -1]])), "`prompt[0][1]` must be 0 to 4294967295");
        assert_eq!(
            refusal(json!([1, 100])),
            "`prompt[1]` must be a token of the vocabulary, below 100"
        );
    }

    #[test]
    fn sixteen_tokens_unless_told_otherwise() {
        let tokens = |body| convert(body).unwrap().generate.max_tokens;
        assert_eq!(tokens(json!({"model": "m", "prompt": "a"})), Some(16));
        assert_eq!(tokens(json!({"model": "m", "prompt": "a", "max_tokens": 3})), Some(3));
    }
}
