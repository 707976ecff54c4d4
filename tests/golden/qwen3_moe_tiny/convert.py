"""Writes the small Qwen3-MoE, a Hugging Face folder made by train.py, as an F32 GGUF.

    python3 convert.py FOLDER OUT.gguf

Quantised files are then made from it by llama.cpp's own `llama-quantize` (Q4_K_M and others).
Needs numpy, safetensors, torch and the PyPI package gguf.
"""

import json
import pathlib
import sys

import gguf
import numpy as np
from safetensors.torch import load_file

# Hugging Face's names inside a layer, and GGUF's.
LAYER = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.gate.weight": "ffn_gate_inp.weight",
}
EXPERT = {"gate_proj": "ffn_gate_exps", "up_proj": "ffn_up_exps", "down_proj": "ffn_down_exps"}


def main():
    folder, out = pathlib.Path(sys.argv[1]), sys.argv[2]
    config = json.loads((folder / "config.json").read_text())
    tensors = {}
    for shard in sorted(folder.glob("*.safetensors")):
        for name, tensor in load_file(shard).items():
            tensors[name.removeprefix("model.")] = tensor.float().numpy()

    writer = gguf.GGUFWriter(out, "qwen3moe")
    writer.add_name("Antiphon tiny Qwen3-MoE")
    writer.add_license("CC0-1.0")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_expert_count(config["num_local_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    add_tokenizer(writer, json.loads((folder / "tokenizer.json").read_text()))

    def add(name, array):
        writer.add_tensor(name, np.ascontiguousarray(array, dtype=np.float32))

    add("token_embd.weight", tensors["embed_tokens.weight"])
    add("output_norm.weight", tensors["norm.weight"])
    add("output.weight", tensors["lm_head.weight"])
    for layer in range(config["num_hidden_layers"]):
        for theirs, ours in LAYER.items():
            add(f"blk.{layer}.{ours}", tensors[f"layers.{layer}.{theirs}"])
        for theirs, ours in EXPERT.items():
            experts = [
                tensors[f"layers.{layer}.mlp.experts.{expert}.{theirs}.weight"]
                for expert in range(config["num_local_experts"])
            ]
            add(f"blk.{layer}.{ours}.weight", np.stack(experts))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_tokenizer(writer, tokenizer):
    vocabulary = sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])
    control = {token["id"] for token in tokenizer["added_tokens"] if token["special"]}
    kinds = [
        gguf.TokenType.CONTROL if index in control else gguf.TokenType.NORMAL
        for _, index in vocabulary
    ]
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)


if __name__ == "__main__":
    main()
