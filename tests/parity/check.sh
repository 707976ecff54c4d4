#!/usr/bin/env bash
# The whole check of the CUDA engine, on a machine with a GPU: every kernel and the small models against
# their definitions, then the same under compute-sanitizer.
#
#   tests/parity/check.sh                    builds the tests first; needs cargo and nvcc
#   tests/parity/check.sh BINARY [FILTER]... runs tests that were built elsewhere
#
# RACECHECK names the tests whose shared memory is watched (default: those of single kernels).
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_MANIFEST_DIR=$PWD

if [ $# -gt 0 ]; then
    parity=$(realpath "$1")
    shift
else
    parity=$(cargo test --release --test parity --no-run --message-format=json |
        sed -n 's/.*"executable":"\([^"]*parity[^"]*\)".*/\1/p')
fi
sanitizer=${COMPUTE_SANITIZER:-$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)}

check() {
    local name=$1 status=0 said
    shift
    printf '\n+ %s\n' "$name"
    said=$("$@" --test-threads 1 2>&1) || status=$?
    grep -E '^(test |left out|========= (ERROR|RACECHECK))' <<<"$said" || true
    if [ "$status" -ne 0 ]; then
        tail -n 50 <<<"$said"
        exit "$status"
    fi
}

check parity "$parity" "$@"
# NCCL asks for kernels that it has not for every device, and goes on without them.
check memcheck "$sanitizer" --tool memcheck --error-exitcode 1 "$parity" "$@" --skip nccl
# shellcheck disable=SC2086 # several names
check racecheck "$sanitizer" --tool racecheck --error-exitcode 1 "$parity" ${RACECHECK:-attention:: draws:: experts:: products:: rows::}
printf '\nall is well\n'
