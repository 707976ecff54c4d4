"""Token ids of nasty texts, as Hugging Face's own library gives them.

Writes tokens.json beside itself, which `tests/reference.rs` reads. The tokenisers are described here
the way a `tokenizer.json` describes them, apart from anything in the crate.

    pip install tokenizers==0.22.2 gguf==0.19.0
    python tokens.py SmolLM2-135M-Instruct-Q4_1.gguf

`vocabulary` is SmolLM2's, cut to its first merges so that it fits in a repository; `full` are the ids
under the whole vocabulary, for a test that has the model's file.
"""

import json
import pathlib
import sys

from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer

MERGES = 1200

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + REST
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + REST

GPT2_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BYTES_ONLY = {**GPT2_BYTES, "use_regex": False}


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


FAMILIES = {
    "default": (
        None,
        [
            {"type": "Punctuation", "behavior": "Contiguous"},
            GPT2_BYTES,
            {"type": "Digits", "individual_digits": False},
            split("[0-9][0-9][0-9]"),
        ],
    ),
    "gpt-2": (None, [GPT2_BYTES]),
    "llama-bpe": (None, [split(LLAMA), BYTES_ONLY]),
    "qwen2": ({"type": "NFC"}, [split(QWEN2), BYTES_ONLY]),
    "smollm": (None, [{"type": "Digits", "individual_digits": True}, GPT2_BYTES]),
}

TEXTS = [
    "",
    " ",
    "Hello, world!",
    "The capital of France is Paris.",
    "  two leading and three trailing spaces   ",
    "tabs\t\tand\ttabs \t mixed",
    "line\nline\n\nline\r\nline\r\n\r\n\n",
    "\n",
    "\r\n \r\n  \n x",
    " no-break　ideographic\u2003em\u200bzero-width",
    "I'll say it's what they've done, DON'T you'D he'S",
    "’curly’ “quotes” — dashes – and … ellipsis",
    "0 12 345 6789 1234567890123456789012345678901234567890",
    "3.14159e-10 1,000,000.00 0xDEADBEEF ½ ² ٣٤٥ Ⅻ",
    "fn main() {\n    let x: Vec<u8> = vec![0; 1 << 20];\n\tprintln!(\"{x:?}\");\n}\n",
    "def f(a, *b, **c):\n        return {k: v for k, v in c.items() if v != a}  # why",
    "https://example.org/a/b?c=d&e=%20f#g user@example.org C:\\dir\\file.txt",
    "!!!??? ... ---- ==== //// #### $$$ @@@ &&& *** ((())) [[]] {{}} <<>> ||| ~~~ ``` ^^^",
    "naïve café Zoë Ångström ﬁne ẞtraße İstanbul ǅ",
    "e\u0301 n\u0303 a\u0308\u0323 Z\u0361\u0358\u0489algo \u0301alone",
    "中文测试。日本語のテスト、ｶﾀｶﾅ。한국어 테스트 한국어",
    "السلام عليكم ١٢٣ ‏مرحبا‎ שָׁלוֹם",
    "हिन्दी में परीक्षण ไทยภาษา မြန်မာ தமிழ்",
    "😀🙂 👨‍👩‍👧‍👦 🏳️‍🌈 🇫🇷 👍🏽 ☕️ 𝕳𝖊𝖑𝖑𝖔 𓀀",
    "\u0000\u0001\u0007\u001b[31mred\u007f\u0080\u00ad",
    "\ufeffbom \ufffd \ufdd0 \uffff \U0010ffff",
    "ĠĊ Ġtoken Ġ the byte-level alphabet itself ĉ¡¢£",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start| > <|im_end |> <|im_ start|> <| im_end|> im_end|>",
    "<|endoftext|><|endoftext|> <repo_name><reponame> <|im_end|><|im_end|>x",
    "a" * 300,
    " " * 300,
    "\n" * 70,
    "ab" * 100 + "9" * 100 + "!" * 100,
    "The quick brown fox jumps over the lazy dog. " * 5,
]


def library(family, vocabulary, merges, control):
    normalizer, passes = FAMILIES[family]
    tokenizer = Tokenizer.from_str(
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": [],
                "normalizer": normalizer,
                "pre_tokenizer": {"type": "Sequence", "pretokenizers": passes},
                "post_processor": None,
                "decoder": BYTES_ONLY,
                "model": {
                    "type": "BPE",
                    "vocab": vocabulary,
                    "merges": merges,
                    "ignore_merges": family == "llama-bpe",
                },
            }
        )
    )
    special = [AddedToken(text, special=True, normalized=False) for text in control]
    tokenizer.add_special_tokens(special)
    return tokenizer


def index(tokens):
    return {token: number for number, token in enumerate(tokens)}


def reduce(tokens, control, merges):
    merges = merges[:MERGES]
    kept = set(control) | {merge.replace(" ", "") for merge in merges}
    return [token for token in tokens if token in kept or len(token) == 1], merges


def main():
    fields = GGUFReader(sys.argv[1]).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    merges = fields["tokenizer.ggml.merges"].contents()
    control = [token for token, kind in zip(tokens, kinds) if kind == 3]
    few, few_merges = reduce(tokens, control, merges)

    families = {}
    for family in FAMILIES:
        encode = library(family, index(few), few_merges, control).encode
        families[family] = [encode(text).ids for text in TEXTS]
    encode = library("smollm", index(tokens), merges, control).encode
    full = [encode(text).ids for text in TEXTS]
    vocabulary = {"tokens": few, "control": control, "merges": few_merges}
    rows = ",\n".join(f'"{family}": {one_a_line(ids)}' for family, ids in families.items())
    pathlib.Path(__file__).with_name("tokens.json").write_text(
        f'{{"vocabulary": {compact(vocabulary)},\n"texts": {one_a_line(TEXTS)},\n'
        f'"families": {{\n{rows}\n}},\n"full": {one_a_line(full)}}}\n'
    )


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def one_a_line(values):
    return "[\n" + ",\n".join(compact(value) for value in values) + "\n]"


main()
