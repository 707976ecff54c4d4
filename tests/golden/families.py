# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "gguf==0.19.0", "safetensors==0.8.0", "numpy==2.4.6"]
# ///
"""Writes families/: a small model of chance of every architecture, once as `transformers` saves it and once as GGUF,
and families.json: the logits that `transformers` gives for it in single precision, and how it goes on greedily.

    python families.py [NAME...]

Chance is drawn anew until no position is a near tie, neither for the greedy choice nor for a router's experts: what
is left to compare is arithmetic, not luck. The configurations that are `published` are spelled as model makers publish
them (`rope_theta`, `rope_scaling`); the others as this release of `transformers` spells them.
"""

import json
import os
import shutil
import sys

import numpy as np
import torch
import transformers
from families_gguf import write_gguf

HERE = os.path.dirname(os.path.abspath(__file__))
TEXT, MORE = 40, 16
LEAD, GAP = 0.05, 0.02
SMALL = dict(vocab_size=128, hidden_size=64, intermediate_size=48, num_hidden_layers=2, max_position_embeddings=128)
WIDE = SMALL | dict(num_attention_heads=2, num_key_value_heads=1, head_dim=32)
NARROW = SMALL | dict(num_attention_heads=4, num_key_value_heads=2)
LLAMA3 = dict(
    rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=32,
)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16)
SHARP_YARN = dict(
    rope_type="yarn", rope_theta=5000.0, factor=2.5, original_max_position_embeddings=32, beta_fast=4.0, beta_slow=0.5,
)
PLAIN = dict(rope_type="default", rope_theta=10000.0)
GEMMA = dict(
    full_attention=dict(rope_type="linear", rope_theta=100000.0, factor=4.0),
    sliding_attention=dict(rope_type="default", rope_theta=2000.0),
)
EXPERTS = dict(num_experts=16, num_experts_per_tok=4, moe_intermediate_size=16)


class Family:
    def __init__(self, model, config, dtype=torch.float16, text=TEXT, shard=None, published=False):
        self.config = getattr(transformers, f"{model}Config")
        text_model = "Gemma3" if model == "Gemma3Text" else model
        self.model = getattr(transformers, f"{text_model}ForCausalLM")
        self.values, self.dtype, self.text = config, dtype, text
        self.shard, self.published = shard, published


FAMILIES = {
    "llama3": Family("Llama", WIDE | dict(rope_parameters=LLAMA3), torch.float32, published=True),
    "llama_yarn": Family("Llama", WIDE | dict(rope_parameters=YARN), text=56),
    "mistral": Family("Mistral", NARROW | dict(rope_parameters=PLAIN, sliding_window=8), published=True),
    "qwen2": Family(
        "Qwen2", NARROW | dict(rope_parameters=PLAIN, tie_word_embeddings=True), torch.float32
    ),
    "qwen3": Family(
        "Qwen3", NARROW | dict(head_dim=32, rope_parameters=SHARP_YARN), text=72, published=True
    ),
    "qwen3_moe": Family(
        "Qwen3Moe",
        NARROW | EXPERTS | dict(head_dim=16, rope_parameters=PLAIN, norm_topk_prob=True), shard="170KB", published=True,
    ),
    "qwen2_moe": Family(
        "Qwen2Moe",
        NARROW | EXPERTS | dict(
            num_experts=8, shared_expert_intermediate_size=40, norm_topk_prob=False, rope_parameters=PLAIN,
        ),
        torch.bfloat16,
    ),
    "mixtral": Family(
        "Mixtral",
        NARROW | dict(intermediate_size=24, num_local_experts=8, num_experts_per_tok=2, rope_parameters=PLAIN),
    ),
    "gemma3": Family(
        "Gemma3Text",
        SMALL | dict(
            num_attention_heads=2, num_key_value_heads=1, head_dim=16, query_pre_attn_scalar=16, num_hidden_layers=7,
            sliding_window=8, rope_parameters=GEMMA,
        ),
        torch.bfloat16,
    ),
}


def main(names):
    path = os.path.join(HERE, "families.json")
    cases = {}
    if names and os.path.exists(path):
        with open(path) as f:
            cases = {case["name"]: case for case in json.load(f)}
    for name in names or FAMILIES:
        cases[name] = make(name, FAMILIES[name])
    with open(path, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(cases[name], separators=(",", ":")) for name in FAMILIES) + "\n]\n")


def make(name, family):
    seed, case = 0, None
    while case is None:
        seed += 1
        chance = np.random.default_rng(seed)
        model = family.model(family.config(**family.values, attn_implementation="eager")).eval()
        fill(model, chance, family.dtype)
        tokens = chance.integers(0, 128, family.text).tolist()
        case = refer(model, tokens)
    folder = os.path.join(HERE, "families", name)
    save(model, folder, family)
    write_gguf(folder + ".gguf", folder, family.dtype)
    read = family.model.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    assert refer(read, tokens) == case, f"{name} is not what was saved"
    for file in os.listdir(folder):
        os.chmod(os.path.join(folder, file), 0o644)
    sizes = [sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder)), os.path.getsize(folder + ".gguf")]
    print(f"{name}: seed {seed}, {sizes} bytes")
    return {"name": name, "tokens": tokens} | case


@torch.no_grad()
def fill(model, chance, dtype):
    """Numbers that the type can store, of a size that keeps activations near one and logits near three."""
    gemma = type(model).__name__.startswith("Gemma")
    tied = model.config.tie_word_embeddings
    for name, weights in model.named_parameters():
        values = chance.standard_normal(tuple(weights.shape)).astype(np.float32)
        if name.endswith("norm.weight"):
            middle = 3.0 if tied and name == "model.norm.weight" else 1.0
            values = 0.2 * values + middle - gemma
        elif name.endswith("bias"):
            values *= 0.3
        elif name == "model.embed_tokens.weight":
            values *= 1 / np.sqrt(weights.shape[1]) if tied else 1.0
        else:
            gain = 3.0 if name == "lm_head.weight" or name.endswith("mlp.gate.weight") else 1.5
            values *= gain / np.sqrt(weights.shape[-1])
        weights.copy_(torch.tensor(values).to(dtype))


@torch.no_grad()
def refer(model, tokens):
    """The reference, or nothing if the text has a near tie: a greedy choice that leads by less than LEAD standard
    deviations of the logits, or a chosen expert by less than GAP over the best that was not."""
    gaps = [np.inf]
    hooks = [
        module.register_forward_hook(lambda module, _, out: gaps.append(routing_gap(module, out)))
        for module in model.modules() if type(module).__name__.endswith("TopKRouter")
    ]
    logits = model(torch.tensor([tokens])).logits[0]
    greedy, lead = list(tokens), np.inf
    while min(gaps) > GAP and lead > LEAD and len(greedy) < len(tokens) + MORE:
        last = model(torch.tensor([greedy])).logits[0, -1]
        best = torch.topk(last, 2)
        lead = float((best.values[0] - best.values[1]) / last.std())
        greedy.append(int(best.indices[0]))
    for hook in hooks:
        hook.remove()
    if min(gaps) <= GAP or lead <= LEAD:
        return None
    at = sorted({0, 1, 7, 8, 15, 17, 31, len(tokens) - 1})
    rows = [[float(f"{value:.6g}") for value in logits[position].tolist()] for position in at]
    return {"at": at, "logits": rows, "greedy": greedy[len(tokens) :]}


def routing_gap(router, out):
    ordered = out[0].sort(dim=-1, descending=True).values
    return float((ordered[:, router.top_k - 1] - ordered[:, router.top_k]).min())


def save(model, folder, family):
    shutil.rmtree(folder, ignore_errors=True)
    size = {"max_shard_size": family.shard} if family.shard else {}
    model.to(family.dtype).save_pretrained(folder, **size)
    if family.published:
        publish(os.path.join(folder, "config.json"))


def publish(path):
    with open(path) as f:
        config = json.load(f)
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    if "num_local_experts" in config and config["model_type"] != "mixtral":
        config["num_experts"] = config.pop("num_local_experts")
    with open(path, "w") as f:
        json.dump(config, f, indent=2, sort_keys=True)
        f.write("\n")


if __name__ == "__main__":
    main(sys.argv[1:])
