//! How fast weights go from the host's memory to where products read them.

use std::time::Instant;

use engine_backend::{Backend, BackendError, DType, Noise, Source, Tensor};
use engine_cuda::{CudaBackend, WeightType};

/// Bytes of a tensor, and how many of them are brought as one weight, as experts are.
const TENSOR_BYTES: usize = 2 << 20;
const TENSORS: usize = 256;
const COLS: usize = 2048;

const TYPES: [(DType, WeightType); 4] = [
    (DType::Bf16, WeightType::Auto),
    (DType::Bf16, WeightType::Fp8),
    (DType::Q4K, WeightType::Auto),
    (DType::Q6K, WeightType::Auto),
];

/// Prints gigabytes of files a second, by type.
pub(crate) fn run() -> anyhow::Result<()> {
    println!("\nloading, from memory: tensors of {} MiB", TENSOR_BYTES >> 20);
    println!("type           GB/s");
    for (dtype, plain) in TYPES {
        let mut backend = CudaBackend::new()?.with_weights(plain);
        let rate = rate(&mut backend, dtype)?;
        println!("{:14} {rate:5.1}", format!("{dtype:?} {plain:?}"));
    }
    Ok(())
}

/// Gigabytes a second of the second of two weights: the first one finds nothing allocated.
fn rate(backend: &mut CudaBackend, dtype: DType) -> Result<f64, BackendError> {
    let row_bytes = dtype.row_bytes(COLS).expect("whole blocks");
    let rows = TENSOR_BYTES / row_bytes;
    let stride = (COLS / dtype.block_elements()) as u64;
    let noise = Noise { key: 1, size: 0.02, first: 0, stride };
    let bytes: Vec<_> =
        (0..TENSORS).map(|nth| noise.from_row(nth * rows).rows(dtype, 0..rows, COLS)).collect();
    let tensor = |bytes| vec![Tensor { dtype, rows, cols: COLS, source: Source::Bytes(bytes) }];
    let experts: Vec<_> = bytes.iter().map(|bytes| tensor(bytes)).collect();
    backend.experts(&experts)?;
    let begun = Instant::now();
    backend.experts(&experts)?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok((TENSORS * rows * row_bytes) as f64 / seconds / 1e9)
}
