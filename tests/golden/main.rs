//! The engine against references that other implementations made.
//!
//! The references are files beside this one, each made by the Python script of the same name.

mod batch;
#[path = "../../engine/executor/tests/engine/dice.rs"]
mod dice;
#[path = "../../engine/executor/tests/engine/driver.rs"]
mod driver;
#[path = "../../engine/cpu/tests/reference/floats.rs"]
mod floats;
mod forced;
#[path = "../../engine/executor/tests/engine/naive.rs"]
mod naive;
mod smollm2;
mod tiny;
