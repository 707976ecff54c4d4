#!/usr/bin/env bash
# Puts nvcc and what it needs into a virtual environment under target/, from PyPI, and prints where it
# is: ANTIPHON_NVCC=$(engine/cuda/nvcc.sh) cargo build --release
set -euo pipefail
cd "$(dirname "$0")/../.."
version=13.0
venv=${CARGO_TARGET_DIR:-target}/nvcc
if [ ! -e "$venv/$version" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check \
        nvidia-cuda-{nvcc,crt,runtime,cccl}=="$version.*" nvidia-nvvm=="$version.*" >&2
    touch "$venv/$version"
fi
nvcc=$(find "$PWD/${venv#"$PWD/"}" -path '*/bin/nvcc' -print -quit)
"$nvcc" --version >&2
printf '%s\n' "$nvcc"
