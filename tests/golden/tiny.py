# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "gguf==0.19.0", "accelerate==1.15.0", "numpy==2.4.6"]
# ///
"""Writes tiny-*.gguf, small llamas of chance, and tiny.json: the logits `transformers` gives for them.

    python tiny.py

The files are written, and their weights quantised, by the `gguf` package; `transformers` reads them back,
dequantised, and computes in single precision.
"""

import json
import os

import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter, quants
from transformers import AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
VOCAB, TEXT = 128, 24
MODELS = {
    "f32": (Type.F32, dict(width=64, mlp=96, heads=4, shared=2, layers=2)),
    "f16": (Type.F16, dict(width=64, mlp=96, heads=4, shared=2, layers=2)),
    "q4_1": (Type.Q4_1, dict(width=64, mlp=96, heads=4, shared=2, layers=2)),
    "q8_0": (Type.Q8_0, dict(width=64, mlp=96, heads=4, shared=1, layers=2)),
    "q6_k": (Type.Q6_K, dict(width=256, mlp=256, heads=4, shared=1, layers=1)),
}


def main():
    cases = []
    for seed, (name, (kind, sizes)) in enumerate(MODELS.items()):
        chance = np.random.default_rng(seed)
        file = f"tiny-{name}.gguf"
        write(os.path.join(HERE, file), kind, chance, **sizes)
        tokens = chance.integers(0, VOCAB, TEXT).tolist()
        model = AutoModelForCausalLM.from_pretrained(HERE, gguf_file=file, dtype=torch.float32)
        model.eval()
        with torch.no_grad():
            logits = model(torch.tensor([tokens])).logits[0]
        rows = [[round(value, 5) for value in row] for row in logits.tolist()]
        cases.append({"file": file, "tokens": tokens, "logits": rows})
    with open(os.path.join(HERE, "tiny.json"), "w") as f:
        json.dump(cases, f, separators=(",", ":"))
        f.write("\n")


def write(path, kind, chance, width, mlp, heads, shared, layers):
    file = GGUFWriter(path, "llama")
    file.add_name(os.path.basename(path))
    file.add_vocab_size(VOCAB)
    file.add_context_length(64)
    file.add_embedding_length(width)
    file.add_block_count(layers)
    file.add_feed_forward_length(mlp)
    file.add_head_count(heads)
    file.add_head_count_kv(shared)
    file.add_rope_freq_base(5000.0)
    file.add_rope_dimension_count(width // heads)
    file.add_layer_norm_rms_eps(1e-5)

    def norm(name):
        file.add_tensor(name, 1 + 0.2 * chance.standard_normal(width).astype(np.float32))

    def weight(name, rows, columns):
        values = chance.standard_normal((rows, columns)).astype(np.float32) / np.sqrt(columns)
        if kind == Type.Q6_K:
            data = q6_k(chance, rows, columns)
        else:
            data = quants.quantize(values, kind)
        file.add_tensor(name, data, raw_dtype=kind)

    weight("token_embd.weight", VOCAB, width)
    norm("output_norm.weight")
    if kind == Type.F16:
        weight("output.weight", VOCAB, width)
    for layer in range(layers):
        norm(f"blk.{layer}.attn_norm.weight")
        norm(f"blk.{layer}.ffn_norm.weight")
        keys = width // heads * shared
        weight(f"blk.{layer}.attn_q.weight", width, width)
        weight(f"blk.{layer}.attn_k.weight", keys, width)
        weight(f"blk.{layer}.attn_v.weight", keys, width)
        weight(f"blk.{layer}.attn_output.weight", width, width)
        weight(f"blk.{layer}.ffn_gate.weight", mlp, width)
        weight(f"blk.{layer}.ffn_up.weight", mlp, width)
        weight(f"blk.{layer}.ffn_down.weight", width, mlp)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def q6_k(chance, rows, columns):
    """Blocks of chance: the package dequantises this type, but does not quantise to it."""
    blocks = rows * columns // 256
    data = chance.integers(0, 256, (blocks, 210), dtype=np.uint8)
    scale = np.float16(1 / np.sqrt(columns) / 18.5 / 74)
    data[:, 208:] = np.frombuffer(scale.tobytes(), np.uint8)
    return data.reshape(rows, columns // 256 * 210)


main()
