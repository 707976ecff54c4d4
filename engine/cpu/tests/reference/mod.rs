//! Plain arithmetic to compare with, and things generated from a seed.
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

mod blocks;
mod floats;

use blocks::block;
use engine_backend::{Backend, DType, Source, StepLayout, Tensor};
use engine_cpu::{Buffer, CpuBackend, Isa};
use floats::floats;

/// A linear congruential generator (Knuth's MMIX constants).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    /// Uniform in `-1..1`.
    pub(crate) fn signed(&mut self) -> f32 {
        (f64::from(self.bits()) / f64::from(1_u32 << 31) - 1.0) as f32
    }

    pub(crate) fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.signed()).collect()
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.bits() as usize % n
    }
}

/// Backends with all instruction sets that the machine has, and several numbers of threads.
pub(crate) fn backends() -> Vec<(String, CpuBackend)> {
    let isas = [Isa::Portable, Isa::Avx2, Isa::Avx512Vnni];
    let mut backends = Vec::new();
    for isa in isas {
        for threads in [1, 2, 3] {
            if let Some(backend) = CpuBackend::with_isa(threads, isa) {
                backends.push((format!("{isa}, {threads} threads"), backend));
            }
        }
    }
    backends
}

/// A buffer with these rows.
pub(crate) fn buffer(backend: &mut CpuBackend, values: &[f32], width: usize) -> Buffer {
    let rows = values.len() / width;
    let mut buffer = backend.buffer(rows, width).expect("there is memory");
    buffer.set_rows(rows);
    buffer.values_mut().copy_from_slice(values);
    buffer
}

/// A buffer whose every element is not a number, with no row in use.
pub(crate) fn poisoned(backend: &mut CpuBackend, rows: usize, width: usize) -> Buffer {
    let mut buffer = backend.buffer(rows, width).expect("there is memory");
    buffer.set_rows(rows);
    buffer.values_mut().fill(f32::NAN);
    buffer.set_rows(0);
    buffer
}

/// A layout of `tokens` and nothing else that matters.
pub(crate) fn tokens(tokens: &[u32]) -> StepLayout {
    StepLayout {
        tokens: tokens.to_vec(),
        positions: vec![0; tokens.len()],
        slots: vec![0; tokens.len()],
        ..StepLayout::default()
    }
}

/// Weights as a file holds them.
pub(crate) struct Weights {
    pub(crate) dtype: DType,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) bytes: Vec<u8>,
}

impl Weights {
    pub(crate) fn random(random: &mut Random, dtype: DType, rows: usize, cols: usize) -> Self {
        let blocks = rows * cols / dtype.block_elements();
        let mut bytes = Vec::new();
        for _ in 0..blocks {
            block(random, dtype, &mut bytes);
        }
        assert_eq!(bytes.len(), rows * dtype.row_bytes(cols).expect("whole blocks"));
        Self { dtype, rows, cols, bytes }
    }

    pub(crate) fn tensor(&self) -> Tensor<'_> {
        Tensor {
            dtype: self.dtype,
            rows: self.rows,
            cols: self.cols,
            source: Source::Bytes(&self.bytes),
        }
    }

    /// All weights as floats, row by row.
    pub(crate) fn floats(&self) -> Vec<f32> {
        let blocks = self.bytes.chunks_exact(self.dtype.block_bytes());
        blocks.flat_map(|block| floats(self.dtype, block)).collect()
    }
}

/// Panics unless both are the same, bit by bit.
pub(crate) fn assert_same(what: &str, left: &[f32], right: &[f32]) {
    assert_eq!(left.len(), right.len(), "{what}");
    for (i, (left, right)) in left.iter().zip(right).enumerate() {
        assert!(left.to_bits() == right.to_bits(), "{what}: element {i}: {left} and {right}");
    }
}

/// Panics unless every element is within its tolerance.
pub(crate) fn assert_close(
    what: &str,
    found: &[f32],
    right: &[f64],
    tolerance: impl Fn(usize) -> f64,
) {
    assert_eq!(found.len(), right.len(), "{what}");
    for (i, (found, right)) in found.iter().zip(right).enumerate() {
        let off = (f64::from(*found) - right).abs();
        assert!(
            off <= tolerance(i),
            "{what}: element {i}: {found}, right is {right}, off by {off}"
        );
    }
}
