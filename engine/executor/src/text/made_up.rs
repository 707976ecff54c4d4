//! A vocabulary for weights that nobody trained: any text can be said with it, and every token has
//! a text of its own.

use engine_model::{Config, ModelError};

use super::{SamplingDefaults, TextAssets, TokenizerAssets, VocabularyAssets};

/// The tokens after those of the bytes. The last one ends a turn.
const CONTROL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message['role'] }}\n\
                        {{ message['content'] }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n";

/// ggml's numbers of the kinds.
const NORMAL_KIND: i32 = 1;
const CONTROL_KIND: i32 = 3;

const LEAST: u32 = 256 + CONTROL.len() as u32;

/// Far more than any model has.
const MOST: u32 = 1 << 20;

pub(super) fn read(config: &Config) -> Result<TextAssets, ModelError> {
    let key = "vocab_size";
    let vocab = config.u32(key)?.unwrap_or_default();
    if !(LEAST..=MOST).contains(&vocab) {
        let expected = format!(
            "{LEAST} to {MOST}: there is no tokenizer.json beside the config.json, and a vocabulary \
             that is made up has a token for each byte"
        );
        return Err(ModelError::Range { key: key.into(), found: vocab.to_string(), expected });
    }
    let bytes = (0..=u8::MAX).map(|byte| byte_char(byte).to_string());
    let fillers = (LEAST..vocab).map(|id| format!("{}{id}", byte_char(b' ')));
    let control = CONTROL.map(str::to_owned);
    let kinds = (0..vocab).map(|id| match id {
        256..LEAST => CONTROL_KIND,
        _ => NORMAL_KIND,
    });
    let vocabulary = VocabularyAssets {
        model: "gpt2".to_owned(),
        pre: Some("gpt-2".to_owned()),
        tokens: bytes.chain(control).chain(fillers).collect(),
        kinds: kinds.collect(),
        eos: Some(LEAST - 1),
        ..VocabularyAssets::default()
    };
    Ok(TextAssets {
        tokenizer: TokenizerAssets::Vocabulary(vocabulary),
        chat_template: Some(TEMPLATE.to_owned()),
        sampling: SamplingDefaults::default(),
    })
}

/// The character that stands for a byte in a byte-level vocabulary: itself if it prints, else one
/// of those from 256 on, in order.
fn byte_char(byte: u8) -> char {
    let prints = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    if prints(&byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|below| !prints(below)).count();
    char::from_u32(256 + before as u32).expect("no surrogate is that low")
}
