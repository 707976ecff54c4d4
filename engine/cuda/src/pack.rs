//! Brings weights to the device: a file's bytes a piece at a time, or what is made in their place;
//! then a kernel lays them out.
#![expect(unsafe_code, reason = "launches kernels")]

use std::borrow::Cow;
use std::ops::Range;

use engine_backend::{BackendError, DType, Source, Tensor};

use crate::OpenError;
use crate::format::{Format, UNIT_OUTPUTS, WeightType, units};
use crate::memory::Memory;
use crate::module::{Function, Modules};
use crate::noise::NoiseKernels;
use crate::queue::{Grid, Queue};
use crate::upload::Upload;

/// Bytes that go to the device together.
const BATCH_BYTES: usize = 32 << 20;
/// Most bytes of one tensor's share in them, so that others fit beside it.
const PIECE_BYTES: usize = BATCH_BYTES / 2;

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
    /// What plain weights become.
    plain: WeightType,
    /// Made when the first weight comes.
    upload: Option<Upload>,
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

/// A tensor, and where it goes.
pub(crate) struct Placed<'a> {
    pub(crate) tensor: Tensor<'a>,
    pub(crate) format: Format,
    /// Where its first output's units begin; there is room for all of them.
    pub(crate) units: u64,
}

/// Rows of a tensor, and where they go.
struct Piece<'a> {
    tensor: Tensor<'a>,
    rows: Range<usize>,
    format: Format,
    units: u64,
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
        let word = Memory::new(queue.context(), 4).map_err(OpenError::from_backend)?;
        queue.fill_with(&word, 0).map_err(OpenError::from_backend)?;
        Ok(Self {
            kernels,
            noise: NoiseKernels::load(modules)?,
            plain: WeightType::Auto,
            upload: None,
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

    /// Lays tensors out, each where its first output's units begin.
    pub(crate) fn pack<'a>(
        &mut self,
        queue: &Queue,
        tensors: impl Iterator<Item = Placed<'a>>,
    ) -> Result<(), BackendError> {
        let mut batch: Vec<Piece<'_>> = Vec::new();
        let mut bytes = 0;
        for piece in tensors.flat_map(Placed::pieces) {
            let size = Upload::size(piece.bytes());
            let joins = batch.first().is_none_or(|first| first.is_made() == piece.is_made());
            if bytes + size > BATCH_BYTES || !joins {
                self.pack_batch(queue, &batch, bytes)?;
                batch.clear();
                bytes = 0;
            }
            batch.push(piece);
            bytes += size;
        }
        self.pack_batch(queue, &batch, bytes)
    }

    /// Packs what fits beside each other on the device: pieces of files, or pieces that are made.
    fn pack_batch(
        &mut self,
        queue: &Queue,
        pieces: &[Piece<'_>],
        bytes: usize,
    ) -> Result<(), BackendError> {
        if pieces.is_empty() {
            return Ok(());
        }
        if self.upload.as_ref().is_none_or(|upload| upload.capacity() < bytes) {
            self.upload = None;
            self.upload = Some(Upload::new(queue.context(), bytes.max(BATCH_BYTES))?);
        }
        let upload = self.upload.as_mut().expect("was just made");
        let sizes: Vec<_> = pieces.iter().map(Piece::bytes).collect();
        let places = if pieces[0].is_made() {
            upload.room(&sizes)?
        } else {
            let slices: Vec<_> = pieces.iter().map(Piece::slice).collect();
            upload.bring(queue, &slices)?
        };
        for (piece, raw) in pieces.iter().zip(places) {
            let Piece { tensor: Tensor { dtype, cols, source, .. }, ref rows, format, units: to } =
                *piece;
            if let Source::Noise(noise) = source {
                let noise = noise.from_row(rows.start);
                // SAFETY: the room is as large as rows of so many columns.
                unsafe { self.noise.make(queue, noise, dtype, (rows.len(), cols), raw) };
            }
            let params = Pack {
                raw,
                units: to,
                too_large: self.too_large.at(0),
                rows: rows.len() as i32,
                cols: cols as i32,
                row_bytes: piece.row_bytes() as i32,
            };
            let known =
                |&&(from, to, _): &&(DType, Format, Function)| (from, to) == (dtype, format);
            let kernel = self.kernels.iter().find(known).expect("one for every type and format").2;
            let blocks = rows.len().div_ceil(UNIT_OUTPUTS) * units(cols);
            // SAFETY: the rows were brought or made, and there is room for their units.
            unsafe { queue.launch(kernel, Grid::new((blocks, 1), 128), &params) };
        }
        upload.done(queue);
        queue.faults().check()
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

    /// Gives the room for pieces back, once all weights are there.
    pub(crate) fn finish(&mut self) {
        self.upload = None;
    }
}

impl<'a> Placed<'a> {
    /// Rows that fit on the device together; each piece but the last is whole units.
    fn pieces(self) -> impl Iterator<Item = Piece<'a>> {
        let Self { tensor, format, units } = self;
        let row_bytes = tensor.dtype.row_bytes(tensor.cols).expect("columns are whole blocks");
        let most = (PIECE_BYTES / row_bytes.max(1) / UNIT_OUTPUTS).max(1) * UNIT_OUTPUTS;
        (0..tensor.rows).step_by(most).map(move |first| Piece {
            tensor,
            rows: first..tensor.rows.min(first + most),
            format,
            units: units + format.bytes(first, tensor.cols) as u64,
        })
    }
}

impl<'a> Piece<'a> {
    fn row_bytes(&self) -> usize {
        self.tensor.dtype.row_bytes(self.tensor.cols).expect("columns are whole blocks")
    }

    fn bytes(&self) -> usize {
        self.rows.len() * self.row_bytes()
    }

    /// Whether no file has it.
    fn is_made(&self) -> bool {
        matches!(self.tensor.source, Source::Noise(_))
    }

    fn slice(&self) -> Cow<'a, [u8]> {
        self.tensor.bytes(self.rows.clone())
    }
}
