//! Log-probabilities of tokens, in the shapes of both endpoints.
//!
//! They are those of the model itself, before biases, penalties and temperature. A token's name is
//! its text; where that is not whole characters, a chat has them replaced, with the bytes beside,
//! and a completion, which has no bytes, spells them out as `bytes:\xf0\x9f`, as OpenAI's does.

use std::borrow::Cow;
use std::collections::BTreeMap;

use engine_contract::LOGPROBS_MAX;
use runtime::{NamedLogprob, TokenLogprobs};
use serde::Serialize;

use super::fields::Fields;
use super::{ApiError, one_line};

/// What `logprobs` is where none were asked for, or no token is there to have one.
pub(crate) const NONE: &str = "null";

/// How many alternatives a chat asks for; `None`: it asks for no log-probabilities.
///
/// # Errors
/// A field of a wrong type or value.
pub(crate) fn read_in_chat(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    let asked = fields.optional("logprobs").map(|field| field.flag()).transpose()? == Some(true);
    let Some(field) = fields.optional("top_logprobs") else { return Ok(asked.then_some(0)) };
    let top = field.integer(0, LOGPROBS_MAX.into())?;
    let top = u32::try_from(top).expect("within the range asked for");
    if top > 0 && !asked {
        return Err(field.outside("left out unless `logprobs` is true"));
    }
    Ok(asked.then_some(top))
}

/// How many alternatives a completion asks for; `None`: it asks for no log-probabilities.
///
/// # Errors
/// A field of a wrong type or value.
pub(crate) fn read_in_completion(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    let Some(field) = fields.optional("logprobs") else { return Ok(None) };
    let top = field.integer(0, LOGPROBS_MAX.into())?;
    Ok(Some(u32::try_from(top).expect("within the range asked for")))
}

#[derive(Serialize)]
struct ChatLogprobs<'a> {
    content: Vec<ChatToken<'a>>,
    refusal: Option<()>,
}

#[derive(Serialize)]
struct ChatToken<'a> {
    #[serde(flatten)]
    token: ChatLogprob<'a>,
    top_logprobs: Vec<ChatLogprob<'a>>,
}

#[derive(Serialize)]
struct ChatLogprob<'a> {
    token: Cow<'a, str>,
    logprob: f32,
    bytes: &'a [u8],
}

impl<'a> From<&'a NamedLogprob> for ChatLogprob<'a> {
    fn from(named: &'a NamedLogprob) -> Self {
        let (bytes, logprob) = (named.name.as_slice(), named.logprob);
        Self { token: String::from_utf8_lossy(bytes), logprob, bytes }
    }
}

/// Of a chat's tokens.
pub(crate) fn of_chat(tokens: &[TokenLogprobs]) -> String {
    let content = tokens.iter().map(|token| ChatToken {
        token: ChatLogprob::from(&token.drawn),
        top_logprobs: token.top.iter().map(ChatLogprob::from).collect(),
    });
    json(tokens, &ChatLogprobs { content: content.collect(), refusal: None })
}

#[derive(Serialize)]
struct CompletionLogprobs<'a> {
    tokens: Vec<Cow<'a, str>>,
    token_logprobs: Vec<f32>,
    top_logprobs: Vec<BTreeMap<Cow<'a, str>, f32>>,
    text_offset: Vec<usize>,
}

/// Of a completion's tokens; `written` are the characters of the tokens before them, and then of
/// these too.
pub(crate) fn of_completion(tokens: &[TokenLogprobs], written: &mut usize) -> String {
    let offset = |token: &TokenLogprobs| {
        // Characters are counted where they begin: not every token has whole ones.
        let begins = |byte: &&u8| **byte & 0xC0 != 0x80;
        let length = token.drawn.name.iter().filter(begins).count();
        *written += length;
        *written - length
    };
    // The token itself is there too, whether or not it is one of the likeliest.
    let top_logprobs = tokens.iter().map(|token| {
        let all = token.top.iter().chain([&token.drawn]);
        all.map(|named| (spelled(&named.name), named.logprob)).collect()
    });
    let text_offset = tokens.iter().map(offset).collect();
    let body = CompletionLogprobs {
        tokens: tokens.iter().map(|token| spelled(&token.drawn.name)).collect(),
        token_logprobs: tokens.iter().map(|token| token.drawn.logprob).collect(),
        top_logprobs: top_logprobs.collect(),
        text_offset,
    };
    json(tokens, &body)
}

fn spelled(name: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(name) {
        Ok(text) => text.into(),
        Err(_) => {
            let bytes: String = name.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("bytes:{bytes}").into()
        }
    }
}

fn json(tokens: &[TokenLogprobs], shape: &impl Serialize) -> String {
    if tokens.is_empty() {
        return NONE.to_owned();
    }
    one_line(serde_json::to_string(shape).expect("numbers and strings always serialise"))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn named(name: &[u8], logprob: f32) -> NamedLogprob {
        NamedLogprob { name: name.to_vec(), logprob }
    }

    fn tokens() -> [TokenLogprobs; 2] {
        let half = named(b"\xf0\x9f", -1.5);
        [
            TokenLogprobs { drawn: named("é\u{2028}".as_bytes(), -0.25), top: vec![half.clone()] },
            TokenLogprobs { drawn: half, top: Vec::new() },
        ]
    }

    #[test]
    fn chats_have_bytes_beside_names() {
        expect![[r#"{"content":[{"token":"é\u2028","logprob":-0.25,"bytes":[195,169,226,128,168],"top_logprobs":[{"token":"�","logprob":-1.5,"bytes":[240,159]}]},{"token":"�","logprob":-1.5,"bytes":[240,159],"top_logprobs":[]}],"refusal":null}"#]]
            .assert_eq(&of_chat(&tokens()));
        assert_eq!(of_chat(&[]), "null");
    }

    #[test]
    fn completions_have_lists_and_offsets_go_on() {
        let mut written = 3;
        expect![[r#"{"tokens":["é\u2028","bytes:\\xf0\\x9f"],"token_logprobs":[-0.25,-1.5],"top_logprobs":[{"bytes:\\xf0\\x9f":-1.5,"é\u2028":-0.25},{"bytes:\\xf0\\x9f":-1.5}],"text_offset":[3,5]}"#]]
            .assert_eq(&of_completion(&tokens(), &mut written));
        assert_eq!(written, 6);
    }
}
