# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "gguf==0.19.0", "accelerate==1.15.0", "numpy==2.4.6"]
# ///
"""Writes tiny-qwen*.gguf, small Qwen2s and Qwen3s of chance, and tiny_qwen.json: the logits `transformers` gives for
them, and how it goes on greedily.

    python tiny_qwen.py

The weights are made by chance here and, rounded through the file's type by the `gguf` package, given to `transformers`
by its own names, so that no reader of these files is trusted; it computes in single precision.
"""

import json
import os

import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter, quants
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
VOCAB, TEXT, MORE = 128, 24, 16
WIDTH, MLP, HEADS, SHARED = 64, 96, 4, 2
# Types, and numbers of layers.
KINDS = {"f32": (Type.F32, 1), "f16": (Type.F16, 2), "q8_0": (Type.Q8_0, 2)}
# Qwen3's heads are larger than an even share of the width.
ARCHITECTURES = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, 16),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, 32),
}
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def main():
    cases = []
    for architecture in ARCHITECTURES:
        for kind in KINDS:
            cases.append(case(architecture, kind, np.random.default_rng(40 + len(cases))))
    with open(os.path.join(HERE, "tiny_qwen.json"), "w") as f:
        json.dump(cases, f, separators=(",", ":"))
        f.write("\n")


def case(architecture, kind, chance):
    config, model, head = ARCHITECTURES[architecture]
    dtype, layers = KINDS[kind]
    tied = kind == "q8_0"
    model = model(config(
        vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=MLP, num_hidden_layers=layers,
        num_attention_heads=HEADS, num_key_value_heads=SHARED, head_dim=head, max_position_embeddings=64,
        rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        tie_word_embeddings=tied, attn_implementation="eager",
    )).float().eval()
    file = f"tiny-{architecture}-{kind}.gguf"
    weights = write(os.path.join(HERE, file), architecture, dtype, chance, head, layers, tied)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and missing == (["lm_head.weight"] if tied else []), (missing, unexpected)
    model.tie_weights()
    tokens = chance.integers(0, VOCAB, TEXT).tolist()
    greedy = list(tokens)
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
        for _ in range(MORE):
            greedy.append(int(model(torch.tensor([greedy])).logits[0, -1].argmax()))
    rows = [[round(value, 5) for value in row] for row in logits.tolist()]
    return {"file": file, "tokens": tokens, "logits": rows, "greedy": greedy[TEXT:]}


def write(path, architecture, kind, chance, head, layers, tied):
    file = GGUFWriter(path, architecture)
    file.add_name(os.path.basename(path))
    file.add_vocab_size(VOCAB)
    file.add_context_length(64)
    file.add_embedding_length(WIDTH)
    file.add_block_count(layers)
    file.add_feed_forward_length(MLP)
    file.add_head_count(HEADS)
    file.add_head_count_kv(SHARED)
    file.add_rope_freq_base(5000.0)
    file.add_layer_norm_rms_eps(1e-5)
    if head != WIDTH // HEADS:
        file.add_key_length(head)
        file.add_value_length(head)
    weights = {}

    def keep(name, values):
        *layer, stem, part = name.removeprefix("blk.").split(".")
        inside = f"model.layers.{layer[0]}." if layer else ""
        weights[f"{inside}{NAMES[stem]}.{part}"] = torch.tensor(values)

    def vector(name, length, middle):
        values = (middle + 0.2 * chance.standard_normal(length)).astype(np.float32)
        file.add_tensor(name, values)
        keep(name, values)

    def weight(name, rows, columns):
        values = chance.standard_normal((rows, columns)).astype(np.float32) / np.sqrt(columns, dtype=np.float32)
        data = quants.quantize(values, kind)
        file.add_tensor(name, data, raw_dtype=kind)
        keep(name, quants.dequantize(data, kind))

    queries, keys = HEADS * head, SHARED * head
    weight("token_embd.weight", VOCAB, WIDTH)
    vector("output_norm.weight", WIDTH, 1)
    if not tied:
        weight("output.weight", VOCAB, WIDTH)
    for layer in range(layers):
        block = f"blk.{layer}"
        vector(f"{block}.attn_norm.weight", WIDTH, 1)
        vector(f"{block}.ffn_norm.weight", WIDTH, 1)
        for part, rows in [("q", queries), ("k", keys), ("v", keys)]:
            weight(f"{block}.attn_{part}.weight", rows, WIDTH)
            if architecture == "qwen2":
                vector(f"{block}.attn_{part}.bias", rows, 0)
            elif part != "v":
                vector(f"{block}.attn_{part}_norm.weight", head, 1)
        weight(f"{block}.attn_output.weight", WIDTH, queries)
        weight(f"{block}.ffn_gate.weight", MLP, WIDTH)
        weight(f"{block}.ffn_up.weight", MLP, WIDTH)
        weight(f"{block}.ffn_down.weight", WIDTH, MLP)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return weights


main()
