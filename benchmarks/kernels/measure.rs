//! Times a call, and says how it stands to the machine's limits.

use std::time::Instant;

use engine_backend::{Backend, BackendError, DType};
use engine_cpu::{Buffer, CpuBackend, Limits};

/// Copies of a weight are used in turn until they are this large together: more than any cache.
pub(crate) const BYTES_MIN: usize = 192 << 20;

/// Seconds of one call: the least of many short runs, so that what else the machine does hardly
/// shows.
pub(crate) fn time(mut f: impl FnMut()) -> f64 {
    const RUN: f64 = 1e-3;
    const ALL: f64 = 0.4;
    let run = |f: &mut dyn FnMut(), calls: usize| {
        let start = Instant::now();
        (0..calls).for_each(|_| f());
        start.elapsed().as_secs_f64()
    };
    run(&mut f, 1);
    let calls = (RUN / run(&mut f, 1).max(1e-7)).ceil().max(1.0);
    let start = Instant::now();
    let mut least = f64::INFINITY;
    while start.elapsed().as_secs_f64() < ALL {
        least = least.min(run(&mut f, calls as usize) / calls);
    }
    least
}

/// Prints what a call took that reads so many bytes of weights and multiplies so much.
pub(crate) fn report(
    limits: &Limits,
    (label, rows): (&str, usize),
    seconds: f64,
    (bytes, products): (usize, usize),
) {
    let (bytes, products) = (bytes as f64 / seconds, products as f64 / seconds);
    println!(
        "{label:14} {rows:4} rows {:9.1} us {:6.1} GB/s ({:3.0} %) {:7.1} GOP/s ({:3.0} %)",
        seconds * 1e6,
        bytes / 1e9,
        100.0 * bytes / limits.bytes,
        2.0 * products / 1e9,
        100.0 * products / limits.products,
    );
}

/// Bytes of some weights: small scales, any codes.
pub(crate) fn bytes(dtype: DType, rows: usize, cols: usize) -> Vec<u8> {
    let len = rows * dtype.row_bytes(cols).expect("whole blocks");
    (0..len).map(|i| (i as u8).wrapping_mul(29) % 0x1c).collect()
}

/// A buffer of small numbers.
pub(crate) fn filled(
    backend: &mut CpuBackend,
    rows: usize,
    width: usize,
) -> Result<Buffer, BackendError> {
    let mut buffer = backend.buffer(rows, width)?;
    buffer.set_rows(rows);
    let values = buffer.values_mut().iter_mut().enumerate();
    values.for_each(|(i, x)| *x = (i * 7919 % 2001) as f32 / 1000.0 - 1.0);
    Ok(buffer)
}
