//! How weights of each type lie in memory, and how they meet activations.
//!
//! Sixteen outputs make a tile: one for each lane, so that a product never sums over lanes. Along
//! the inputs a tile is a row of blocks, each as long as the type's own block in a file (at least a
//! unit of 32), with the sixteen outputs' codes side by side in the order a vector reads them, and
//! so their scales. A new type is a file here and a line in [`pack`](super::matrix).

mod codes;
mod float;
mod iq4_nl;
mod iq4_xs;
mod k_min;
mod k_zero;
mod mxfp4;
mod q2_k;
mod q8_0;
mod sums;
mod uniform;

use bytemuck::Zeroable;

use crate::{
    activation::Unit,
    simd::{LANES, Simd},
};

pub(crate) use float::{Bf16, F16, F32};
pub(crate) use iq4_nl::Iq4Nl;
pub(crate) use iq4_xs::Iq4Xs;
pub(crate) use k_min::{Q4K, Q5K};
pub(crate) use k_zero::{Q3K, Q6K};
pub(crate) use mxfp4::Mxfp4;
pub(crate) use q2_k::Q2K;
pub(crate) use q8_0::Q8_0;
pub(crate) use uniform::{Q4_0, Q4_1, Q5_0, Q5_1};

/// A type of weights: its layout, and its product.
pub(crate) trait Format: Send + Sync + 'static {
    /// Sixteen outputs by `UNITS * 32` inputs. All zeros stand for weights of zero.
    type Block: Zeroable + Copy + Send + Sync;
    /// What it multiplies.
    type Unit: Unit;
    /// Units in a block.
    const UNITS: usize;
    /// Whether a unit is so little work for a row that more than four rows go together.
    const MANY: bool = false;
    /// Bytes of one output's block in a file.
    const FILE_BYTES: usize;

    /// Writes one output's block, as a file holds it, to its lane. The last block of a row may be
    /// short.
    fn pack(block: &mut Self::Block, lane: usize, bytes: &[u8]);

    /// Reads the weights of one lane back.
    fn unpack(block: &Self::Block, lane: usize, weights: &mut [f32]);

    /// Makes one of a block's units ready for products.
    fn decode<S: Simd>(s: S, block: &Self::Block, unit: usize) -> impl Decoded<S, Self::Unit>;
}

/// Weights of a unit, ready for products with any number of rows.
pub(crate) trait Decoded<S: Simd, U> {
    /// Adds the products with `R` rows of activations. For each row it does the same in the same
    /// order whatever `R` is.
    fn add<const R: usize>(&self, s: S, x: &[U; R], sums: &mut [S::F; R]);
}

/// Sixteen f16, by their bits.
type Halves = [u16; LANES];

/// The f16 at the start of `bytes`, by its bits.
fn half_at(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[0], bytes[1]])
}

/// The value of an f16, given by its bits.
fn widen(bits: u16) -> f32 {
    half::f16::from_bits(bits).to_f32()
}
