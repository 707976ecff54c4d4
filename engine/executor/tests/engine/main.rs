//! The engine over small models: the same tokens however steps are cut, on every backend.

mod assets;
mod batch;
mod blocks;
mod dice;
mod draws;
mod driver;
#[path = "../../../cpu/tests/reference/floats.rs"]
mod floats;
mod folder;
mod loading;
mod naive;
mod parity;
mod peers;
mod random;
mod ranks;
mod tallies;
mod tiny;
#[path = "../../../model/tests/gguf/writer.rs"]
mod writer;
