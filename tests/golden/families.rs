//! A small model of every architecture, as a Hugging Face folder and as a GGUF file: logits and
//! greedy continuation against `transformers` in single precision.
//!
//! The texts are longer than what their models stretch or slide: past the original context of a
//! scaled rotation, and past several windows.

use engine::{KvType, ModelFile};

use crate::forced::Text;
use crate::naive::Rounding;
use crate::reference::{self, Case};

pub(crate) const NAMES: [&str; 9] = [
    "llama3",
    "llama_yarn",
    "mistral",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "qwen2_moe",
    "mixtral",
    "gemma3",
];

/// Every architecture in every format: its case, the file, and the file's name.
fn each(mut check: impl FnMut(&Case, &ModelFile, &str)) {
    let cases = reference::cases(include_str!("families.json"));
    let names: Vec<_> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names, NAMES);
    for case in &cases {
        for format in ["", ".gguf"] {
            let name = format!("families/{}{format}", case.name);
            check(case, &reference::open(&name), &name);
        }
    }
}

/// Reader, weights and decoder have no error of their own: through plain loops, the reference's
/// logits come out to the last digits of single precision, and its tokens.
#[test]
fn the_decoder_is_the_reference_s() {
    each(|case, file, name| {
        let found = reference::plain(file, case.text(), Rounding::None);
        let error = case.error(&found);
        assert!(error.largest < 1e-4, "{name}: {error:?}");
        assert_eq!(case.drawn(&found), case.greedy, "{name}");
    });
}

/// So does the CPU where keys and values keep their digits, and with halves nearly so.
#[test]
fn the_cpu_is_the_reference_s() {
    each(|case, file, name| {
        let kinds = [(KvType::F32, 1e-4, 1e-4), (KvType::F16, 2e-3, 1e-2)];
        for (kv_type, mean_max, largest_max) in kinds {
            let found = reference::served(file, case.text(), kv_type);
            let error = case.error(&found);
            let near = error.mean < mean_max && error.largest < largest_max;
            assert!(near, "{name}, {kv_type:?}: {error:?}");
            assert_eq!(case.drawn(&found), case.greedy, "{name}, {kv_type:?}");
        }
    });
}

/// However a text is cut into steps, the logits after it are the same, bit for bit.
#[test]
fn all_at_once_is_one_by_one() {
    each(|case, file, name| {
        let one_by_one = reference::served(file, case.text(), KvType::F16);
        let tokens = case.text().tokens;
        for first in [case.tokens.len() / 2, tokens.len()] {
            let text = Text { tokens: tokens.clone(), first };
            let found = reference::served(file, text, KvType::F16);
            assert!(found == one_by_one[first - 1..], "{name}, {first} at once");
        }
    });
}
