//! Products of a small model's shapes.

use engine_backend::{Backend, BackendError, DType, Source, Tensor};
use engine_cpu::{CpuBackend, Limits};

use crate::measure::{BYTES_MIN, bytes, filled, report, time};

/// Inputs and outputs of the products of a layer of 576, and of its vocabulary.
const SHAPES: [(&str, usize, usize); 5] = [
    ("qkv", 576, 960),
    ("out", 576, 576),
    ("gate_up", 576, 3072),
    ("down", 1536, 576),
    ("vocab", 576, 49152),
];
const ROWS: [usize; 6] = [1, 4, 8, 16, 64, 512];
const DTYPES: [DType; 15] = [
    DType::Q4_1,
    DType::Q8_0,
    DType::Q6K,
    DType::F16,
    DType::F32,
    DType::Iq4Nl,
    DType::Iq4Xs,
    DType::Mxfp4,
    DType::Q2K,
    DType::Q3K,
    DType::Q4_0,
    DType::Q4K,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q5K,
];

/// Times every product that is wanted.
pub(crate) fn products(
    backend: &mut CpuBackend,
    limits: &Limits,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(), BackendError> {
    for dtype in DTYPES {
        for (name, inputs, outputs) in SHAPES {
            let whole = inputs.is_multiple_of(dtype.block_elements());
            // Large tables in floats would only take long to make.
            let small = outputs < 10_000 || matches!(dtype, DType::Q8_0 | DType::Q4_1);
            let label = format!("{dtype:?} {name}");
            if whole && small && wanted(&label) {
                product(backend, limits, &label, dtype, (inputs, outputs))?;
            }
        }
    }
    Ok(())
}

fn product(
    backend: &mut CpuBackend,
    limits: &Limits,
    label: &str,
    dtype: DType,
    (inputs, outputs): (usize, usize),
) -> Result<(), BackendError> {
    let bytes = bytes(dtype, outputs, inputs);
    let tensor = Tensor { dtype, rows: outputs, cols: inputs, source: Source::Bytes(&bytes) };
    let copies = BYTES_MIN.div_ceil(bytes.len());
    let weights: Vec<_> =
        (0..copies).map(|_| backend.matrix(&[tensor])).collect::<Result<_, _>>()?;
    for rows in ROWS {
        // All logits at once are never computed.
        if rows > 64 && outputs > 10_000 {
            continue;
        }
        let x = filled(backend, rows, inputs)?;
        let mut out = backend.buffer(rows, outputs)?;
        let mut weights = weights.iter().cycle();
        let seconds = time(|| {
            let weight = weights.next().expect("a cycle has no end");
            backend.linear(&x, weight, None, &mut out);
        });
        report(limits, (label, rows), seconds, (bytes.len(), rows * inputs * outputs));
    }
    Ok(())
}
