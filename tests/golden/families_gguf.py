"""Writes a folder that `transformers` saved as GGUF: its keys, names and layouts as llama.cpp has them.

Weights keep their type; vectors and routers become F32. For architectures that are `llama` to GGUF, the rows of query
and key projections are reordered, because there a rotation turns neighbours.
"""

import glob
import json
import math
import os

import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter, RopeScalingType, quants
from safetensors.torch import load_file

ARCHITECTURES = {
    "llama": "llama", "mistral": "llama", "mixtral": "llama", "qwen2": "qwen2", "qwen3": "qwen3",
    "qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe", "gemma3_text": "gemma3",
}
TYPES = {torch.float32: Type.F32, torch.float16: Type.F16, torch.bfloat16: Type.BF16}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
    "mlp.experts.gate_proj": "ffn_gate_exps",
    "mlp.experts.up_proj": "ffn_up_exps",
    "mlp.experts.down_proj": "ffn_down_exps",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
    "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp",
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "block_sparse_moe.gate": "ffn_gate_inp",
    "block_sparse_moe.experts.w1": "ffn_gate_exps",
    "block_sparse_moe.experts.w2": "ffn_down_exps",
    "block_sparse_moe.experts.w3": "ffn_up_exps",
}
GEMMA_NAMES = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def write_gguf(path, folder, dtype):
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    file = GGUFWriter(path, ARCHITECTURES[config["model_type"]])
    file.add_name(os.path.basename(folder))
    add_sizes(file, config)
    rope = config.get("rope_parameters") or (config["rope_scaling"] or {}) | {"rope_theta": config["rope_theta"]}
    add_rope(file, rope)
    if rope.get("rope_type") == "llama3":
        file.add_tensor("rope_freqs.weight", llama3_divisors(rope, head_dim(config)))
    for name, values in tensors(folder, config):
        plain = values.ndim < 2 or "ffn_gate_inp" in name
        kind = Type.F32 if plain else TYPES[dtype]
        file.add_tensor(name, quants.quantize(values, kind), raw_dtype=kind)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def head_dim(config):
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def add_sizes(file, config):
    file.add_vocab_size(config["vocab_size"])
    file.add_context_length(config["max_position_embeddings"])
    file.add_embedding_length(config["hidden_size"])
    file.add_block_count(config["num_hidden_layers"])
    file.add_feed_forward_length(config["intermediate_size"])
    file.add_head_count(config["num_attention_heads"])
    file.add_head_count_kv(config["num_key_value_heads"])
    file.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if config.get("head_dim"):
        file.add_key_length(config["head_dim"])
        file.add_value_length(config["head_dim"])
    if file.arch == "llama":
        file.add_rope_dimension_count(head_dim(config))
    if config.get("sliding_window"):
        file.add_sliding_window(config["sliding_window"])
    if experts := config.get("num_local_experts") or config.get("num_experts"):
        file.add_expert_count(experts)
        file.add_expert_used_count(config["num_experts_per_tok"])
    if "moe_intermediate_size" in config:
        file.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if "shared_expert_intermediate_size" in config:
        file.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])


def add_rope(file, rope):
    if local := rope.get("sliding_attention"):
        file.add_rope_freq_base_swa(local["rope_theta"])
    rope = rope.get("full_attention", rope)
    file.add_rope_freq_base(rope["rope_theta"])
    scaling = {"linear": RopeScalingType.LINEAR, "yarn": RopeScalingType.YARN}.get(rope.get("rope_type"))
    if scaling:
        file.add_rope_scaling_type(scaling)
        file.add_rope_scaling_factor(rope["factor"])
    if scaling == RopeScalingType.YARN:
        file.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        if "beta_fast" in rope:
            file.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
            file.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])


def llama3_divisors(rope, dims):
    """What each pair's frequency is divided by (Llama 3.1's extension of its context)."""
    lengths = 2 * math.pi * rope["rope_theta"] ** (np.arange(0, dims, 2) / dims)
    turns = rope["original_max_position_embeddings"] / lengths
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / (kept + (1 - kept) / rope["factor"])).astype(np.float32)


def tensors(folder, config):
    """Names and values as GGUF has them."""
    shards = [load_file(shard) for shard in sorted(glob.glob(os.path.join(folder, "*.safetensors")))]
    found = {name: values.float().numpy() for shard in shards for name, values in shard.items()}
    experts = {}
    for name, values in found.items():
        *path, part = name.split(".")
        layer = path[2] if path[:2] == ["model", "layers"] else None
        path = path[3:] if layer else path
        if "experts" in path:
            nth = path.pop(path.index("experts") + 1)
            experts.setdefault((layer, ".".join(path)), {})[int(nth)] = values
            continue
        yield renamed(layer, ".".join(path), part, config), arranged(".".join(path), values, config)
    for (layer, stem), parts in experts.items():
        yield renamed(layer, stem, "weight", config), np.stack([parts[nth] for nth in range(len(parts))])


def renamed(layer, stem, part, config):
    names = NAMES | GEMMA_NAMES if config["model_type"] == "gemma3_text" else NAMES
    return f"blk.{layer}.{names[stem]}.{part}" if layer else f"{names[stem]}.{part}"


def arranged(stem, values, config):
    if config["model_type"] == "gemma3_text" and stem.endswith("norm"):
        return values + np.float32(1)
    if ARCHITECTURES[config["model_type"]] == "llama" and stem in ("self_attn.q_proj", "self_attn.k_proj"):
        heads = len(values) // head_dim(config)
        halves = values.reshape(heads, 2, len(values) // heads // 2, *values.shape[1:])
        return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)
    if stem == "mlp.shared_expert_gate":
        return values[0]
    return values
