"""How a model of `transformers` goes on after a prompt, choosing greedily, and how sure it is."""

import torch

OUTPUTS = 64
TOP_AT = [0, 1, 7, 15, 31, 63]


@torch.no_grad()
def continuation(model, prompt, tops=10):
    """The greedy tokens; how far the second choice was behind at each; and the largest logits at some positions.

    Tokens follow one by one over a cache of keys and values; the last logits are compared with those of the whole text
    at once.
    """
    tokens, past = list(prompt), None
    margins, largest = [], []
    for nth in range(OUTPUTS):
        fed = tokens if past is None else tokens[-1:]
        out = model(torch.tensor([fed]), past_key_values=past, use_cache=True, logits_to_keep=1)
        past, logits = out.past_key_values, out.logits[0, -1]
        top = torch.topk(logits, tops)
        values, ids = top.values.tolist(), top.indices.tolist()
        margins.append(round(values[0] - values[1], 4))
        if nth in TOP_AT:
            top = {"at": nth, "ids": ids, "logits": [float(f"{value:.6g}") for value in values]}
            largest.append(top | {"spread": round(logits.std().item(), 4)})
        tokens.append(ids[0])
    whole = model(torch.tensor([tokens[:-1]]), use_cache=False, logits_to_keep=1).logits[0, -1]
    assert (whole - logits).abs().max() < 2e-3, (whole - logits).abs().max()
    return {"prompt": list(prompt), "greedy": tokens[len(prompt) :], "margins": margins, "tops": largest}
