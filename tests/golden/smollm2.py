# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "gguf==0.19.0", "accelerate==1.15.0", "numpy==2.4.6"]
# ///
"""Writes smollm2.json: what `transformers` makes of the demo model in single precision.

    python smollm2.py SmolLM2-135M-Instruct.Q4_1.gguf

The weights are dequantised once; activations, keys and values stay in single precision. For each prompt:
its tokens, the greedy continuation, how far the second choice was behind at each of its positions, and the
ten largest logits at some.
"""

import json
import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

OUTPUTS = 64
TOP_AT = [0, 1, 7, 15, 31, 63]
CHAT = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
RHYME = (
    "Mary had a little lamb, its fleece was white as snow, "
    "and everywhere that Mary went the lamb was sure to go.\n"
)
YEAR = (
    "January, February, March, April, May, June, July, "
    "August, September, October, November, December, "
)
ITEM = '{{"id": {0}, "name": "item {0}", "price": {0}0}},\n '
# The first four leave little doubt at any position, so that a less precise computation agrees; the others
# are as texts are.
PROMPTS = {
    "count": "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,",
    "items": "[" + ITEM.format(1) + ITEM.format(2) + ITEM.format(3).rstrip(" "),
    "months": YEAR + YEAR + "January,",
    "rhyme": RHYME * 3 + "Mary had",
    "capital": CHAT.format("What is the capital of France?"),
    "numbers": CHAT.format("Count from 1 to 30, separated by commas."),
    "story": "Once upon a time, in a small village by the sea,",
    "water": CHAT.format("Why is the sky blue? Answer in two sentences."),
}


def main(path):
    folder, file = os.path.split(os.path.abspath(path))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    model.eval()
    cases = [case(name, text, tokenizer, model) for name, text in PROMPTS.items()]
    out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "smollm2.json")
    with open(out, "w") as f:
        json.dump(cases, f, indent=None, separators=(",", ":"))
        f.write("\n")


@torch.no_grad()
def case(name, text, tokenizer, model):
    prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
    tokens = list(prompt)
    past, margins, tops = None, [], []
    for nth in range(OUTPUTS):
        fed = tokens if past is None else tokens[-1:]
        out = model(torch.tensor([fed]), past_key_values=past, use_cache=True)
        past, logits = out.past_key_values, out.logits[0, -1]
        top = torch.topk(logits, 10)
        values, ids = top.values.tolist(), top.indices.tolist()
        margins.append(round(values[0] - values[1], 4))
        if nth in TOP_AT:
            top = {"at": nth, "ids": ids, "logits": [round(value, 4) for value in values]}
            tops.append(top | {"spread": round(logits.std().item(), 4)})
        tokens.append(ids[0])
    greedy = tokens[len(prompt) :]
    print(f"{name}: {tokenizer.decode(greedy)!r}, smallest margin {min(margins)}")
    return {
        "name": name,
        "text": text,
        "prompt": prompt,
        "greedy": greedy,
        "margins": margins,
        "tops": tops,
    }


main(sys.argv[1])
