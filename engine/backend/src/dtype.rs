//! Element types of weights, as files store them.

use std::borrow::Cow;
use std::ops::Range;

use crate::Noise;

/// How a tensor's elements are stored. Quantised types store blocks of elements along the rows;
/// their layouts are ggml's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
    /// Blocks of 32: f16 scale `d`, 4-bit `q` that stands for one of sixteen unevenly spaced 8-bit
    /// `v`; `w = d v`.
    Iq4Nl,
    /// Blocks of 256: 8 sub-blocks with 6-bit `s`, f16 scale `d`, `q` as in [`DType::Iq4Nl`]; `w =
    /// d (s - 32) v`.
    Iq4Xs,
    /// Blocks of 32: exponent `e` of 8 bits, floats `q` of 4 bits (E2M1); `w = 2^(e - 127) q`.
    Mxfp4,
    /// Blocks of 256: f16 scale `d` and minimum `dmin`, 16 sub-blocks with 4-bit `s` and `m`, 2-bit
    /// `q`; `w = d s q - dmin m`.
    Q2K,
    /// Blocks of 256: 16 sub-blocks with 6-bit `s`, f16 scale `d`, 3-bit `q`; `w = d (s - 32) (q -
    /// 4)`.
    Q3K,
    /// Blocks of 32: f16 scale `d`, 4-bit `q`; `w = d (q - 8)`.
    Q4_0,
    /// Blocks of 32: f16 scale `d`, f16 minimum `m`, 4-bit `q`; `w = d q + m`.
    Q4_1,
    /// Blocks of 256: f16 scale `d` and minimum `dmin`, 8 sub-blocks with 6-bit `s` and `m`, 4-bit
    /// `q`; `w = d s q - dmin m`.
    Q4K,
    /// Blocks of 32: f16 scale `d`, 5-bit `q`; `w = d (q - 16)`.
    Q5_0,
    /// Blocks of 32: f16 scale `d`, f16 minimum `m`, 5-bit `q`; `w = d q + m`.
    Q5_1,
    /// As [`DType::Q4K`], with 5-bit `q`.
    Q5K,
    /// Blocks of 256: 16 sub-blocks with 8-bit scales, f16 scale `d`, 6-bit `q`; `w = d s (q -
    /// 32)`.
    Q6K,
    /// Blocks of 32: f16 scale `d`, 8-bit `q`; `w = d q`.
    Q8_0,
}

/// A weight as a file holds it: `rows` outputs of `cols` inputs each, row by row, without padding.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// How the elements are stored.
    pub dtype: DType,
    /// Number of outputs.
    pub rows: usize,
    /// Number of inputs; a multiple of the type's block.
    pub cols: usize,
    /// Where its bytes come from.
    pub source: Source<'a>,
}

/// Where the bytes of a weight come from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// From a file: `rows * dtype.row_bytes(cols)` bytes, little-endian.
    Bytes(&'a [u8]),
    /// From nowhere: whoever needs them makes them.
    Noise(Noise),
}

impl<'a> Tensor<'a> {
    /// The bytes of some rows.
    ///
    /// # Panics
    /// If there are no such rows, or not as many bytes as rows and columns say.
    #[must_use]
    pub fn bytes(&self, rows: Range<usize>) -> Cow<'a, [u8]> {
        let Self { dtype, cols, source, .. } = *self;
        assert!(rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        match source {
            Source::Bytes(bytes) => {
                let row_bytes = dtype.row_bytes(cols).expect("columns are whole blocks");
                assert_eq!(bytes.len(), self.rows * row_bytes, "bytes of {dtype:?} weights");
                Cow::Borrowed(&bytes[rows.start * row_bytes..rows.end * row_bytes])
            }
            Source::Noise(noise) => Cow::Owned(noise.rows(dtype, rows, cols)),
        }
    }
}

impl DType {
    /// Every type there is.
    pub const ALL: [Self; 16] = [
        Self::Bf16,
        Self::F16,
        Self::F32,
        Self::Iq4Nl,
        Self::Iq4Xs,
        Self::Mxfp4,
        Self::Q2K,
        Self::Q3K,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q4K,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q5K,
        Self::Q6K,
        Self::Q8_0,
    ];

    /// Elements in one block.
    #[must_use]
    pub const fn block_elements(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 | Self::F32 => 1,
            Self::Iq4Nl
            | Self::Mxfp4
            | Self::Q4_0
            | Self::Q4_1
            | Self::Q5_0
            | Self::Q5_1
            | Self::Q8_0 => 32,
            Self::Iq4Xs | Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of one block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
            Self::Iq4Nl => 18,
            Self::Iq4Xs => 136,
            Self::Mxfp4 => 17,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q4K => 144,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q5K => 176,
            Self::Q6K => 210,
            Self::Q8_0 => 34,
        }
    }

    /// Bytes of a row of `cols` elements; `None` if a block would be split or the size overflows.
    #[must_use]
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_elements()) {
            return None;
        }
        (cols / self.block_elements()).checked_mul(self.block_bytes())
    }
}
