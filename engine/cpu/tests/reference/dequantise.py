#!/usr/bin/env python3
"""Writes blocks.txt: random blocks of every quantised type and the floats that `gguf` makes of them.

    pip install gguf==0.19.0
    python dequantise.py > blocks.txt

Each line is a row of 256 weights: the type, its bytes, and its floats' bits, in hexadecimal.
"""

import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf.quants import dequantize

# Where a block's f16 scales are: random bits there would give infinities.
HALVES = {
    Type.IQ4_NL: [0],
    Type.IQ4_XS: [0],
    Type.MXFP4: [],
    Type.Q2_K: [80, 82],
    Type.Q3_K: [108],
    Type.Q4_0: [0],
    Type.Q4_1: [0, 2],
    Type.Q5_0: [0],
    Type.Q5_1: [0, 2],
    Type.Q8_0: [0],
    Type.Q4_K: [0, 2],
    Type.Q5_K: [0, 2],
    Type.Q6_K: [208],
}
ROWS, WIDTH = 2, 256


def rows(dice: np.random.Generator, kind: Type) -> np.ndarray:
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = dice.integers(0, 256, (ROWS * WIDTH // elements, size), dtype=np.uint8)
    for at in HALVES[kind]:
        scales = dice.uniform(-0.1, 0.1, len(blocks)).astype(np.float16)
        blocks[:, at : at + 2] = scales[:, None].view(np.uint8)
    if kind == Type.MXFP4:
        # The least powers of two are stored apart from the others.
        blocks[:3, 0] = [0, 1, 2]
    return blocks.reshape(ROWS, -1)


def main() -> None:
    dice = np.random.default_rng(1)
    for kind in HALVES:
        for row in rows(dice, kind):
            floats = dequantize(row, kind).astype("<f4")
            sys.stdout.write(f"{kind.name} {row.tobytes().hex()} {floats.tobytes().hex()}\n")


if __name__ == "__main__":
    main()
