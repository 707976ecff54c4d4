//! The engine against references that other implementations made.
//!
//! The references are files beside this one, each made by the Python script of the same name.

mod batch;
mod continuation;
#[path = "../../engine/executor/tests/engine/dice.rs"]
mod dice;
#[path = "../../engine/executor/tests/engine/driver.rs"]
mod driver;
mod families;
#[path = "../../engine/cpu/tests/reference/floats.rs"]
mod floats;
mod forced;
mod gemma3;
mod memory;
#[path = "../../engine/executor/tests/engine/naive.rs"]
mod naive;
#[path = "../../engine/executor/tests/engine/peers.rs"]
mod peers;
mod qwen3_moe;
mod ranks;
mod reference;
mod scheduled;
mod smollm2;
mod weight_types;
#[path = "../../engine/model/tests/gguf/writer.rs"]
#[expect(dead_code, reason = "more is there for wrong files")]
mod writer;
