# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "gguf==0.19.0", "numpy==2.4.6"]
# ///
"""Writes gemma3_270m.json: what `transformers` makes of Gemma 3 270M (Q4_K_M) in single precision.

    python gemma3_270m.py gemma-3-270m-q4_k_m.gguf

The weights are dequantised once by the `gguf` package and given to `transformers` by its own names; activations, keys
and values stay in single precision. The file is of the model before instruction and has no chat template: prompts are
texts to go on with. One is longer than the window of the sliding layers.
"""

import json
import os
import sys

import torch
from continuation import continuation
from families_gguf import GEMMA_NAMES, NAMES
from gguf import GGUFReader, dequantize
from transformers import AutoTokenizer, Gemma3ForCausalLM, Gemma3TextConfig

RHYME = (
    "Mary had a little lamb, its fleece was white as snow, "
    "and everywhere that Mary went the lamb was sure to go.\n"
)
# A window of 512 positions is passed by the last.
PROMPTS = {
    "count": "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,",
    "rhyme": RHYME * 3 + "Mary had",
    "capital": "Question: What is the capital of France?\nAnswer:",
    "story": "Once upon a time, in a small village by the sea,",
    "sky": "The sky is blue because",
    "code": "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
    "deutsch": "Der schnellste Weg von Berlin nach München ist",
    "long": "".join(f"Line {nth}: the number is {nth * nth}.\n" for nth in range(1, 49)) + "Line",
}


def main(path):
    folder, file = os.path.split(os.path.abspath(path))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = load(path)
    cases = []
    for name, text in PROMPTS.items():
        case = {"name": name, "text": text} | continuation(model, tokenizer(text)["input_ids"])
        cases.append(case)
        said = tokenizer.decode(case["greedy"])
        print(f"{name}: {len(case['prompt'])} tokens, then {said!r}, smallest margin {min(case['margins'])}")
    out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gemma3_270m.json")
    with open(out, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")


def load(path):
    file = GGUFReader(path)

    def fact(key):
        return file.fields[f"gemma3.{key}"].contents()

    weights = dict(renamed(file.tensors))
    with torch.device("meta"):
        model = Gemma3ForCausalLM(Gemma3TextConfig(
            vocab_size=len(weights["model.embed_tokens.weight"]), hidden_size=fact("embedding_length"),
            intermediate_size=fact("feed_forward_length"), num_hidden_layers=fact("block_count"),
            num_attention_heads=fact("attention.head_count"), num_key_value_heads=fact("attention.head_count_kv"),
            head_dim=fact("attention.key_length"), query_pre_attn_scalar=fact("attention.key_length"),
            max_position_embeddings=fact("context_length"), rms_norm_eps=fact("attention.layer_norm_rms_epsilon"),
            sliding_window=fact("attention.sliding_window"), attn_implementation="eager",
            rope_parameters={
                "full_attention": {"rope_type": "default", "rope_theta": fact("rope.freq_base")},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        ))
    whole = Gemma3ForCausalLM.from_pretrained(None, config=model.config, state_dict=weights, dtype=torch.float32)
    return whole.eval()


def renamed(tensors):
    theirs = {ours: theirs for theirs, ours in (NAMES | GEMMA_NAMES).items()}
    for tensor in tensors:
        values = torch.tensor(dequantize(tensor.data, tensor.tensor_type))
        *layer, stem, part = tensor.name.removeprefix("blk.").split(".")
        inside = f"model.layers.{layer[0]}." if layer else ""
        # `transformers` adds one to what norms multiply with; the file has it added.
        yield f"{inside}{theirs[stem]}.{part}", values - 1 if stem.endswith("norm") else values


main(sys.argv[1])
