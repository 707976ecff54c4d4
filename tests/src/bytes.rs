//! A model of bytes: its tokens are the 256 bytes, each its own id, and the control tokens of
//! ChatML.

use std::sync::Arc;

use engine_contract::{Sampling, TokenId};
use runtime::{Model, ModelCard};
use runtime_text::{ChatTemplate, TokenKind, Tokenizer, Vocabulary};

/// Begins a turn.
pub const START: TokenId = TokenId(256);
/// Ends a turn.
pub const END: TokenId = TokenId(257);
/// Number of tokens.
pub const VOCAB: u32 = 258;
/// Most positions of one sequence, unless a test asks for more.
pub const CONTEXT: u32 = 512;

const CHAT_TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n\
    {{ message.content }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n\
    {% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}\
    {% endif %}";

/// The token that is this byte.
#[must_use]
pub fn byte(byte: u8) -> TokenId {
    TokenId(byte.into())
}

/// The tokens of a text without control tokens.
#[must_use]
pub fn tokens(text: &str) -> Arc<[TokenId]> {
    text.bytes().map(byte).collect()
}

/// The model by this name, with a context of [`CONTEXT`].
#[must_use]
pub fn model(id: &str) -> Model {
    let tokenizer = tokenizer();
    let template = ChatTemplate::new(CHAT_TEMPLATE, tokenizer.special_tokens())
        .expect("the template is Jinja");
    Model {
        card: ModelCard {
            id: id.to_owned(),
            created: 0,
            context: CONTEXT,
            sampling: Sampling::PLAIN,
            template_variables: template.variables(),
        },
        template: Some(Arc::new(template)),
        tokenizer: Arc::new(tokenizer),
    }
}

fn tokenizer() -> Tokenizer {
    let mut tokens: Vec<String> = byte_chars().map(String::from).collect();
    let mut kinds = vec![TokenKind::Normal; tokens.len()];
    tokens.extend(["<|im_start|>", "<|im_end|>"].map(str::to_owned));
    kinds.extend([TokenKind::Control; 2]);
    Tokenizer::from_vocabulary(Vocabulary {
        model: "gpt2".to_owned(),
        pre: Some("gpt-2".to_owned()),
        tokens,
        kinds,
        eos: Some(END.0),
        ..Vocabulary::default()
    })
    .expect("the vocabulary makes sense")
}

/// The characters that the bytes are written as in a byte-level vocabulary, in the bytes' order:
/// printable Latin-1 characters as themselves, the others from U+0100 on (`bytes_to_unicode` in
/// GPT-2's `encoder.py`).
fn byte_chars() -> impl Iterator<Item = char> {
    let mut others = '\u{100}'..;
    (0..=u8::MAX).map(move |byte| match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
        0..=b' ' | 0x7F..=0xA0 | 0xAD => others.next().expect("there are more characters"),
    })
}

#[cfg(test)]
mod tests {
    use runtime_text::Message;

    use super::*;

    #[test]
    fn text_becomes_its_bytes_and_chats_get_their_control_tokens() {
        let model = model("tiny");
        let text = "aß\n\u{7f}\u{ad}";
        let ids: Vec<u32> = text.bytes().map(u32::from).collect();
        assert_eq!(model.tokenizer.encode_text(text), ids);
        assert_eq!(model.tokenizer.end_tokens(), [END.0]);
        let message = Message { role: "user".to_owned(), content: "hi".to_owned() };
        let rendered = model.template.unwrap().render(&vec![message].into()).unwrap();
        let ids = model.tokenizer.encode_rendered(&rendered);
        assert_eq!((ids[0], ids.len()), (START.0, 1 + 5 + 2 + 1 + 1 + 1 + 10));
    }
}
