//! Brings weights to the device: a file's bytes a piece at a time, or what is made in their place;
//! then a kernel lays them out.
#![expect(unsafe_code, reason = "launches kernels")]

use std::ops::Range;

use engine_backend::{BackendError, DType, Source, Tensor};

use crate::OpenError;
use crate::format::{UNIT_OUTPUTS, units};
use crate::memory::Memory;
use crate::module::{Function, Modules};
use crate::noise::NoiseKernels;
use crate::queue::{Grid, Queue};

/// Bytes of the file that are on the device at a time.
const PIECE_BYTES: usize = 64 << 20;

const DTYPES: [(DType, &str); 16] = [
    (DType::Bf16, "bf16"),
    (DType::F16, "f16"),
    (DType::F32, "f32"),
    (DType::Iq4Nl, "iq4_nl"),
    (DType::Iq4Xs, "iq4_xs"),
    (DType::Mxfp4, "mxfp4"),
    (DType::Q2K, "q2_k"),
    (DType::Q3K, "q3_k"),
    (DType::Q4_0, "q4_0"),
    (DType::Q4_1, "q4_1"),
    (DType::Q4K, "q4_k"),
    (DType::Q5_0, "q5_0"),
    (DType::Q5_1, "q5_1"),
    (DType::Q5K, "q5_k"),
    (DType::Q6K, "q6_k"),
    (DType::Q8_0, "q8_0"),
];

/// The way of weights to the device.
pub(crate) struct Packer {
    kernels: Vec<(DType, Function)>,
    noise: NoiseKernels,
    random: Function,
    /// Room for a piece; made when the first weight comes.
    piece: Option<Memory>,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Pack {
    raw: u64,
    units: u64,
    rows: i32,
    cols: i32,
    row_bytes: i32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Random {
    units: u64,
    seed: u64,
    reach: f32,
}

impl Packer {
    pub(crate) fn new(modules: &Modules<'_>) -> Result<Self, OpenError> {
        let kernel = |(dtype, name): (DType, &str)| {
            modules.function("pack", &format!("pack_{name}")).map(|function| (dtype, function))
        };
        Ok(Self {
            kernels: DTYPES.into_iter().map(kernel).collect::<Result<_, _>>()?,
            noise: NoiseKernels::load(modules)?,
            random: modules.function("pack", "fill_random")?,
            piece: None,
        })
    }

    /// Lays a tensor out in `memory`, `offset` bytes in, where its first output's units begin.
    pub(crate) fn pack(
        &mut self,
        queue: &Queue,
        tensor: &Tensor<'_>,
        memory: &Memory,
        offset: usize,
    ) -> Result<(), BackendError> {
        let Tensor { dtype, rows, cols, .. } = *tensor;
        let kernel = self.kernels.iter().find(|(known, _)| *known == dtype);
        let kernel = kernel.ok_or(BackendError::Unsupported(dtype))?.1;
        let format = crate::format::Format::of(dtype);
        let row_bytes = dtype.row_bytes(cols).expect("columns are whole blocks");
        let most = (PIECE_BYTES / row_bytes.max(1) / UNIT_OUTPUTS).max(1) * UNIT_OUTPUTS;
        for first in (0..rows).step_by(most) {
            let rows = most.min(rows - first);
            let units_at = offset + format.bytes(first, cols);
            assert!(units_at + format.bytes(rows, cols) <= memory.bytes(), "a weight has its room");
            let params = Pack {
                raw: self.bring(queue, tensor, first..first + rows)?,
                units: memory.at(units_at),
                rows: rows as i32,
                cols: cols as i32,
                row_bytes: row_bytes as i32,
            };
            let blocks = rows.div_ceil(UNIT_OUTPUTS) * units(cols);
            // SAFETY: the piece holds the rows, and the memory their units.
            unsafe { queue.launch(kernel, Grid::new((blocks, 1), 128), &params) };
        }
        queue.faults().check()
    }

    /// Fills a memory with bf16 weights of chance, between `-reach` and `reach`.
    pub(crate) fn fill_random(&self, queue: &Queue, memory: &Memory, seed: u64, reach: f32) {
        const UNIT_BYTES: usize = crate::format::Format::Bf16.unit_bytes();
        let blocks = memory.bytes() / UNIT_BYTES;
        let params = Random { units: memory.at(0), seed, reach };
        // SAFETY: the memory holds as many units as there are blocks.
        unsafe { queue.launch(self.random, Grid::new((blocks, 1), 128), &params) };
    }

    /// Where rows of a tensor are on the device as a file has them, until the next ones.
    fn bring(
        &mut self,
        queue: &Queue,
        tensor: &Tensor<'_>,
        rows: Range<usize>,
    ) -> Result<u64, BackendError> {
        let Tensor { dtype, cols, source, .. } = *tensor;
        let row_bytes = dtype.row_bytes(cols).expect("columns are whole blocks");
        let bytes = rows.len() * row_bytes;
        if self.piece.as_ref().is_none_or(|piece| piece.bytes() < bytes) {
            self.piece = Some(Memory::new(queue.context(), bytes.max(PIECE_BYTES))?);
        }
        let piece = self.piece.as_ref().expect("was just made");
        match source {
            Source::Bytes(_) => queue.upload_to(piece, 0, &tensor.bytes(rows))?,
            Source::Noise(noise) => {
                let noise = noise.from_row(rows.start);
                self.noise.make(queue, noise, dtype, (rows.len(), cols), piece);
            }
        }
        Ok(piece.at(0))
    }

    /// Gives the room for pieces back, once all weights are there.
    pub(crate) fn finish(&mut self) {
        self.piece = None;
    }
}
