//! Brings weights to the device: a file's bytes a piece at a time, or what is made in their place;
//! then a kernel lays them out.
#![expect(unsafe_code, reason = "launches kernels")]

use std::ops::Range;

use engine_backend::{BackendError, DType, Source, Tensor};

use crate::OpenError;
use crate::format::{Format, UNIT_OUTPUTS, WeightType, units};
use crate::memory::Memory;
use crate::module::{Function, Modules};
use crate::noise::NoiseKernels;
use crate::queue::{Grid, Queue};

/// Bytes of the file that are on the device at a time.
const PIECE_BYTES: usize = 64 << 20;

/// Kernels are named for the format that they make of a type.
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
    kernels: Vec<(DType, Format, Function)>,
    noise: NoiseKernels,
    fills: Vec<Function>,
    /// What plain weights become.
    plain: WeightType,
    /// Room for a piece; made when the first weight comes.
    piece: Option<Memory>,
    /// A word that kernels set when a weight is larger than its format holds.
    too_large: Memory,
    /// Bytes that are kept in each format.
    kept: [usize; Format::ALL.len()],
}

/// Whether plain weights may be kept in fewer bits than bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    Allowed,
    Forbidden,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Pack {
    raw: u64,
    units: u64,
    too_large: u64,
    rows: i32,
    cols: i32,
    row_bytes: i32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Fill {
    units: u64,
    seed: u64,
    reach: f32,
}

impl Packer {
    pub(crate) fn load(modules: &Modules<'_>, queue: &Queue) -> Result<Self, OpenError> {
        let mut kernels = Vec::new();
        for (dtype, name) in DTYPES {
            let own = [WeightType::Auto, WeightType::Fp8].map(|plain| Format::of(dtype, plain));
            let mut formats = vec![Format::Bf16];
            formats.extend(own.into_iter().filter(|format| *format != Format::Bf16));
            formats.dedup();
            for format in formats {
                let kernel = modules.function("pack", &format!("pack_{}_{name}", format.name()))?;
                kernels.push((dtype, format, kernel));
            }
        }
        let fill = |format: Format| modules.function("fill", &format!("fill_{}", format.name()));
        let word = Memory::new(queue.context(), 4).map_err(OpenError::from_backend)?;
        queue.fill_with(&word, 0).map_err(OpenError::from_backend)?;
        Ok(Self {
            kernels,
            noise: NoiseKernels::load(modules)?,
            fills: Format::ALL.into_iter().map(fill).collect::<Result<_, _>>()?,
            plain: WeightType::Auto,
            piece: None,
            too_large: word,
            kept: [0; Format::ALL.len()],
        })
    }

    /// What plain weights become from now on.
    pub(crate) fn set_plain(&mut self, plain: WeightType) {
        self.plain = plain;
    }

    /// What weights of a type become: of plain ones, those that must not be rounded stay bf16.
    pub(crate) fn format(&self, dtype: DType, rounding: Rounding) -> Format {
        match rounding {
            Rounding::Allowed => Format::of(dtype, self.plain),
            Rounding::Forbidden => Format::of(dtype, WeightType::Auto),
        }
    }

    /// Lays a tensor out in `memory`, `offset` bytes in, where its first output's units begin.
    pub(crate) fn pack(
        &mut self,
        queue: &Queue,
        tensor: &Tensor<'_>,
        format: Format,
        (memory, offset): (&Memory, usize),
    ) -> Result<(), BackendError> {
        let Tensor { dtype, rows, cols, .. } = *tensor;
        let known = |&&(from, to, _): &&(DType, Format, Function)| (from, to) == (dtype, format);
        let kernel = self.kernels.iter().find(known);
        let kernel = kernel.ok_or(BackendError::Unsupported(dtype))?.2;
        let row_bytes = dtype.row_bytes(cols).expect("columns are whole blocks");
        let most = (PIECE_BYTES / row_bytes.max(1) / UNIT_OUTPUTS).max(1) * UNIT_OUTPUTS;
        for first in (0..rows).step_by(most) {
            let rows = most.min(rows - first);
            let units_at = offset + format.bytes(first, cols);
            assert!(units_at + format.bytes(rows, cols) <= memory.bytes(), "a weight has its room");
            let params = Pack {
                raw: self.bring(queue, tensor, first..first + rows)?,
                units: memory.at(units_at),
                too_large: self.too_large.at(0),
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

    /// Fills a memory with weights of chance, of about `reach` at most.
    pub(crate) fn fill_random(
        &mut self,
        queue: &Queue,
        format: Format,
        memory: &Memory,
        (seed, reach): (u64, f32),
    ) {
        let blocks = memory.bytes() / format.unit_bytes();
        let params = Fill { units: memory.at(0), seed, reach };
        // SAFETY: the memory holds as many units as there are blocks.
        unsafe { queue.launch(self.fills[format as usize], Grid::new((blocks, 1), 128), &params) };
    }

    /// Waits for what was packed; whether some of it was too large for its format since the last
    /// time.
    pub(crate) fn settle(&self, queue: &Queue) -> Result<bool, BackendError> {
        // Products ask for weights before the kernel ahead of them has ended.
        queue.finish()?;
        let mut word = [0_u8; 4];
        self.too_large.read(0, &mut word)?;
        queue.fill_with(&self.too_large, 0)?;
        Ok(word != [0; 4])
    }

    /// Notes what stays on the device.
    pub(crate) fn keep(&mut self, format: Format, bytes: usize) {
        self.kept[format as usize] += bytes;
    }

    /// Formats that weights are kept in, and bytes of each.
    pub(crate) fn kept(&self) -> impl Iterator<Item = (Format, usize)> {
        Format::ALL.into_iter().zip(self.kept).filter(|&(_, bytes)| bytes > 0)
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
