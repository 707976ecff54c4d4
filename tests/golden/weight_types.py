# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "gguf==0.19.0", "numpy==2.4.6"]
# ///
"""Writes weight_types/: a small Qwen3 of chance whose weights are all of one type, for every type, and
weight_types.json: the logits that `transformers` gives for its weights, dequantised by the `gguf` package, in single
precision.

    python weight_types.py LLAMA_QUANTIZE

The F32 files are written by the `gguf` package; all others are made of them by llama.cpp's `llama-quantize`.
"""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from families_gguf import NAMES
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, GGUFWriter, dequantize
from transformers import Qwen3Config, Qwen3ForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
VOCAB, TEXT = 96, 24
AT = [0, 1, 2, 5, 8, 13, 18, 23]
# Types in blocks of 256 need wide matrices; the others do with small ones.
SMALL = dict(width=64, mlp=96, heads=4, shared=2, head=32, layers=2)
WIDE = dict(width=256, mlp=256, heads=4, shared=1, head=64, layers=1)
SIZES = {"F32": SMALL | dict(layers=1), "F16": SMALL, "BF16": SMALL, "Q4_0": SMALL, "Q4_1": SMALL, "Q5_0": SMALL, "Q5_1": SMALL,
         "Q8_0": SMALL, "Q2_K": WIDE, "Q3_K": WIDE, "Q4_K": WIDE, "Q5_K": WIDE, "Q6_K": WIDE, "IQ4_NL": SMALL,
         "IQ4_XS": WIDE, "MXFP4": SMALL}


def main(quantize):
    cases = []
    for seed, (kind, sizes) in enumerate(SIZES.items()):
        chance = np.random.default_rng(seed)
        path = os.path.join(HERE, "weight_types", f"{kind.lower()}.gguf")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if kind == "F32":
            write(path, chance, **sizes)
        else:
            with tempfile.TemporaryDirectory() as folder:
                plain = os.path.join(folder, "f32.gguf")
                write(plain, chance, **sizes)
                convert(quantize, plain, path, kind)
        tokens = chance.integers(0, VOCAB, TEXT).tolist()
        cases.append({"name": kind.lower(), "tokens": tokens, "at": AT, "logits": refer(path, Type[kind], tokens, sizes)})
        print(kind, os.path.getsize(path))
    with open(os.path.join(HERE, "weight_types.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")


def write(path, chance, width, mlp, heads, shared, head, layers):
    file = GGUFWriter(path, "qwen3")
    file.add_name("Types")
    file.add_vocab_size(VOCAB)
    file.add_context_length(64)
    file.add_embedding_length(width)
    file.add_block_count(layers)
    file.add_feed_forward_length(mlp)
    file.add_head_count(heads)
    file.add_head_count_kv(shared)
    file.add_key_length(head)
    file.add_value_length(head)
    file.add_rope_freq_base(5000.0)
    file.add_layer_norm_rms_eps(1e-6)

    def norm(name, length, middle=1.0):
        file.add_tensor(f"{name}.weight", (middle + 0.2 * chance.standard_normal(length)).astype(np.float32))

    def weight(name, rows, columns, gain=1.5):
        values = gain / np.sqrt(columns) * chance.standard_normal((rows, columns))
        file.add_tensor(f"{name}.weight", values.astype(np.float32))

    weight("token_embd", VOCAB, width, gain=1.0)
    norm("output_norm", width, middle=3.0)
    for layer in range(layers):
        block = f"blk.{layer}."
        norm(block + "attn_norm", width)
        norm(block + "ffn_norm", width)
        norm(block + "attn_q_norm", head)
        norm(block + "attn_k_norm", head)
        weight(block + "attn_q", heads * head, width)
        weight(block + "attn_k", shared * head, width)
        weight(block + "attn_v", shared * head, width)
        weight(block + "attn_output", width, heads * head)
        weight(block + "ffn_gate", mlp, width)
        weight(block + "ffn_up", mlp, width)
        weight(block + "ffn_down", width, mlp)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def convert(quantize, plain, path, kind):
    """The whole file in one type. No mixture of `llama-quantize` has MXFP4 everywhere: it is asked for by tensor."""
    mixture = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4": "MXFP4_MOE"}.get(kind, kind)
    everywhere = ["--pure", "--token-embedding-type", kind.lower()]
    if kind == "MXFP4":
        everywhere = everywhere[1:] + ["--tensor-type", "blk=mxfp4"]
    subprocess.run([quantize, *everywhere, plain, path, mixture, "1"], check=True, capture_output=True)


@torch.no_grad()
def refer(path, kind, tokens, sizes):
    model = Qwen3ForCausalLM(Qwen3Config(
        vocab_size=VOCAB, hidden_size=sizes["width"], intermediate_size=sizes["mlp"],
        num_hidden_layers=sizes["layers"], num_attention_heads=sizes["heads"], num_key_value_heads=sizes["shared"],
        head_dim=sizes["head"], max_position_embeddings=64, rms_norm_eps=1e-6, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0}, attn_implementation="eager",
    )).float().eval()
    theirs = {ours: theirs for theirs, ours in NAMES.items() if not theirs.startswith("block_sparse_moe")}
    weights = {}
    for tensor in GGUFReader(path).tensors:
        assert tensor.tensor_type == (kind if len(tensor.shape) > 1 else Type.F32), (tensor.name, tensor.tensor_type)
        *layer, stem, part = tensor.name.removeprefix("blk.").split(".")
        inside = f"model.layers.{layer[0]}." if layer else ""
        weights[f"{inside}{theirs[stem]}.{part}"] = torch.tensor(dequantize(tensor.data, tensor.tensor_type))
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert missing == ["lm_head.weight"] and not unexpected, (missing, unexpected)
    model.tie_weights()
    logits = model(torch.tensor([tokens])).logits[0, AT].tolist()
    return [[float(f"{value:.6g}") for value in row] for row in logits]


main(sys.argv[1])
