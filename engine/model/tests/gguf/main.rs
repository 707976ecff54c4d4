//! Reading GGUF files that nobody vouches for.

mod damage;
mod experts;
mod hostile;
mod model;
mod neighbours;
mod writer;

use engine_model::{GgufError, Header};
use writer::Writer;

/// A small file with a value of every sort.
fn sample() -> Writer {
    let mut file = Writer::new();
    file.string("general.architecture", "llama");
    file.u32("general.alignment", 32);
    file.f32("a.float", 0.5);
    file.value("a.double", 12, &2.5_f64.to_le_bytes());
    file.value("a.bool", 7, &[1]);
    file.value("a.negative", 5, &(-3_i32).to_le_bytes());
    file.value("a.wide", 10, &u64::MAX.to_le_bytes());
    file.strings("a.strings", &["one", "", "drei ½"]);
    let integers =
        [&5_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &[1, 0, 0, 0], &[255; 4]].concat();
    file.value("a.integers", 9, &integers);
    let floats = [&6_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &1.5_f32.to_le_bytes()].concat();
    file.value("a.floats", 9, &floats);
    file.tensor("first", &[32, 2], 3, vec![7; 40]);
    file.tensor("second", &[3], 0, vec![9; 12]);
    file
}

fn parse(file: &Writer) -> Result<Header, GgufError> {
    Header::parse(&file.finish())
}

fn refusal(file: &Writer) -> String {
    parse(file).expect_err("a wrong file").to_string()
}
