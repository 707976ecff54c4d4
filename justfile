# The front door. `just` lists what there is.

[private]
default:
    @just --list

# Everything that must hold before a change goes in.
check:
    .ci/run

# All tests.
test *ARGS:
    cargo test --release --workspace {{ARGS}}

# Replay one simulation.
sim SEED:
    ANTIPHON_SIM_SEED={{SEED}} cargo test --release -p tests --test sim -- --nocapture

# Served speed: `just bench --model FILE.gguf [--peer PATH/llama-server]`.
bench *ARGS:
    cargo build --release -p serve
    cargo run --release -p benchmarks --bin bench-serve -- {{ARGS}}

# Format the code.
fmt:
    cargo fmt --all

# Fuzz a reader of files (gguf, safetensors, config) for some seconds. Needs a nightly compiler and
# cargo-fuzz.
fuzz TARGET SECONDS="600":
    cd tests/fuzz && mkdir -p found/{{TARGET}} && cargo +nightly fuzz run --fuzz-dir . {{TARGET}} \
        found/{{TARGET}} corpus/{{TARGET}} -- -max_total_time={{SECONDS}} -rss_limit_mb=1024 -timeout=5
