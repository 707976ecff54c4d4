//! Weights read back against those that another implementation reads; `reference/dequantise.py`
//! wrote them.

mod reference;

use engine_backend::{Backend, DType, Source, Tensor};
use engine_cpu::CpuBackend;
use reference::assert_same;

const ROWS: &str = include_str!("reference/blocks.txt");

fn dtype(name: &str) -> DType {
    match name {
        "IQ4_NL" => DType::Iq4Nl,
        "IQ4_XS" => DType::Iq4Xs,
        "MXFP4" => DType::Mxfp4,
        "Q2_K" => DType::Q2K,
        "Q3_K" => DType::Q3K,
        "Q4_0" => DType::Q4_0,
        "Q4_1" => DType::Q4_1,
        "Q4_K" => DType::Q4K,
        "Q5_0" => DType::Q5_0,
        "Q5_1" => DType::Q5_1,
        "Q5_K" => DType::Q5K,
        "Q6_K" => DType::Q6K,
        "Q8_0" => DType::Q8_0,
        _ => panic!("{name} is no type"),
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().as_chunks::<2>().0;
    let byte = |digits: &[u8; 2]| {
        let digits = std::str::from_utf8(digits).expect("ASCII");
        u8::from_str_radix(digits, 16).expect("hexadecimal")
    };
    digits.iter().map(byte).collect()
}

#[test]
fn weights_are_those_that_another_implementation_reads() {
    let mut backend = CpuBackend::new(1);
    let mut seen = Vec::new();
    for (line, row) in ROWS.lines().enumerate() {
        let [name, weights, floats] = row.split(' ').collect::<Vec<_>>()[..] else {
            panic!("line {line} has three fields");
        };
        let (dtype, weights, floats) = (dtype(name), bytes(weights), bytes(floats));
        let right: Vec<f32> =
            floats.as_chunks::<4>().0.iter().map(|bits| f32::from_le_bytes(*bits)).collect();
        let tensor = Tensor { dtype, rows: 1, cols: right.len(), source: Source::Bytes(&weights) };
        let matrix = backend.matrix(&[tensor]).expect("there is memory");
        let mut found = vec![0.0; right.len()];
        matrix.output(0, &mut found);
        assert_same(&format!("{name}, line {line}"), &found, &right);
        seen.push(dtype);
    }
    for dtype in DType::ALL.into_iter().filter(|dtype| dtype.block_elements() > 1) {
        assert!(seen.contains(&dtype), "{dtype:?} has no rows");
    }
}
