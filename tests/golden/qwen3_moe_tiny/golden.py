# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "gguf==0.19.0", "numpy==2.4.6"]
# ///
"""Writes golden.json: what `transformers` makes of model-q4_k_m.gguf in single precision.

    python golden.py FOLDER

FOLDER is the Hugging Face folder that train.py made; its tokenizer is used, and none of its weights. The weights of the
GGUF file are dequantised by the `gguf` package and given to `transformers` by its own names.
"""

import json
import os
import sys

import torch
from gguf import GGUFReader, dequantize
from transformers import AutoTokenizer, Qwen3MoeConfig, Qwen3MoeForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from continuation import continuation  # noqa: E402
from families_gguf import NAMES  # noqa: E402

# A model this small is in doubt somewhere in almost any text, about a token or about an expert. The first seven were
# picked among many because it leads by a tenth at each of its 64 choices, and because the CPU makes the same choices
# where the inputs of all products are rounded to eight bits: they show what rounding keeps, and are no measure of how
# often. At the next three it leads as far, but not so rounded. The others are as texts are.
PROMPTS = {
    "row": "A row! a row! a row!\n\nTASHTEG",
    "irons": 'The irons! take them; hold them while I fill!" Forthwith, sl',
    "leave": "I beg leave to call your attention to another subject intimately associated with the",
    "lien": "The lien on the Kansas Pacific prior to that of the Government on the",
    "english": "The English ship Pusie Hall can tell a story on that head",
    "measures": "Measures have been taken pursuant to that resolution for procuring some of the",
    "harpoon": 'Is not this harpoon for the White Whale?"\n\n"For the wh',
    "stranger": "It makes a stranger stare.\n\nBut, besides the Fee",
    "courage": "We must have the wisdom, the stamina, and the courage to pre",
    "forces": "We must maintain all necessary types of mobile forces to deal with local",
    "ishmael": "Call me Ishmael.",
    "states": "The United States of America",
    "union": "I am happy to report to the Congress that the state of the Union is",
}


def main(folder):
    path = os.path.join(HERE, "model-q4_k_m.gguf")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = load(path)
    cases = []
    for name, text in PROMPTS.items():
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        cases.append({"name": name, "text": text} | continuation(model, prompt, tops=32))
        margins = cases[-1]["margins"]
        print(f"{name}: {tokenizer.decode(cases[-1]['greedy'])!r}, smallest margin {min(margins)}")
    with open(os.path.join(HERE, "golden.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")


def load(path):
    file = GGUFReader(path)

    def fact(key):
        return file.fields[f"qwen3moe.{key}"].contents()

    weights = {tensor.name: torch.tensor(dequantize(tensor.data, tensor.tensor_type)) for tensor in file.tensors}
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(
        vocab_size=len(weights["token_embd.weight"]), hidden_size=fact("embedding_length"),
        intermediate_size=fact("feed_forward_length"), num_hidden_layers=fact("block_count"),
        num_attention_heads=fact("attention.head_count"), num_key_value_heads=fact("attention.head_count_kv"),
        head_dim=fact("attention.key_length"), max_position_embeddings=fact("context_length"),
        rms_norm_eps=fact("attention.layer_norm_rms_epsilon"), num_experts=fact("expert_count"),
        num_experts_per_tok=fact("expert_used_count"), moe_intermediate_size=fact("expert_feed_forward_length"),
        norm_topk_prob=True, tie_word_embeddings=False, attn_implementation="eager",
        rope_parameters={"rope_type": "default", "rope_theta": fact("rope.freq_base")},
    )).float().eval()
    model.load_state_dict(dict(renamed(weights)))
    return model


def renamed(weights):
    theirs = {ours: theirs for theirs, ours in NAMES.items() if not theirs.startswith("block_sparse_moe")}
    for name, values in weights.items():
        *layer, stem, part = name.removeprefix("blk.").split(".")
        inside = f"model.layers.{layer[0]}." if layer else ""
        if stem == "ffn_up_exps":
            continue
        if stem == "ffn_gate_exps":
            up = weights[name.replace("gate", "up")]
            yield f"{inside}mlp.experts.gate_up_proj", torch.cat([values, up], dim=1)
        elif stem == "ffn_down_exps":
            yield f"{inside}mlp.experts.down_proj", values
        else:
            yield f"{inside}{theirs[stem]}.{part}", values


main(sys.argv[1])
