//! Q4_0, Q4_1, Q5_0, Q5_1: blocks of 32 with evenly spaced codes of four or five bits, and a scale,
//! `w = d (q - zero)`, or a scale and a minimum, `w = d q + m`.

use std::marker::PhantomData;

use bytemuck::Zeroable;

use super::{
    Decoded, Format, Halves,
    codes::{FileCodes, Joined, Plane},
    half_at,
    sums::{Centred, WithMin},
    widen,
};
use crate::{activation::Quantised, simd::Simd};

/// Codes and a scale.
pub(crate) struct Scaled<C, const ZERO: i32>(PhantomData<C>);
/// Codes, a scale and a minimum.
pub(crate) struct Shifted<C>(PhantomData<C>);

/// Four bits, `w = d (q - 8)`.
pub(crate) type Q4_0 = Scaled<Plane<4>, 8>;
/// Five bits, `w = d (q - 16)`.
pub(crate) type Q5_0 = Scaled<Joined<4, 1>, 16>;
/// Four bits, `w = d q + m`.
pub(crate) type Q4_1 = Shifted<Plane<4>>;
/// Five bits, `w = d q + m`.
pub(crate) type Q5_1 = Shifted<Joined<4, 1>>;

#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(32))]
pub(crate) struct ScaledBlock<C> {
    codes: C,
    scale: Halves,
}

#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct ShiftedBlock<C> {
    codes: C,
    scale: Halves,
    min: Halves,
}

impl<C: FileCodes, const ZERO: i32> Format for Scaled<C, ZERO> {
    type Block = ScaledBlock<C>;
    type Unit = Quantised;
    const UNITS: usize = 1;
    const FILE_BYTES: usize = 2 + C::FILE_BYTES;

    fn pack(block: &mut Self::Block, lane: usize, bytes: &[u8]) {
        block.scale[lane] = half_at(bytes);
        block.codes.take(lane, &bytes[2..]);
    }

    fn unpack(block: &Self::Block, lane: usize, weights: &mut [f32]) {
        let scale = widen(block.scale[lane]);
        for (input, weight) in weights.iter_mut().enumerate() {
            *weight = scale * (f32::from(block.codes.get(lane, input)) - ZERO as f32);
        }
    }

    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &Self::Block, _: usize) -> impl Decoded<S, Quantised> {
        Centred::<S, false> {
            codes: block.codes.load(s),
            zero: ZERO,
            scale: s.load_f16(&block.scale),
        }
    }
}

impl<C: FileCodes> Format for Shifted<C> {
    type Block = ShiftedBlock<C>;
    type Unit = Quantised;
    const UNITS: usize = 1;
    const FILE_BYTES: usize = 4 + C::FILE_BYTES;

    fn pack(block: &mut Self::Block, lane: usize, bytes: &[u8]) {
        block.scale[lane] = half_at(bytes);
        block.min[lane] = half_at(&bytes[2..]);
        block.codes.take(lane, &bytes[4..]);
    }

    fn unpack(block: &Self::Block, lane: usize, weights: &mut [f32]) {
        let (scale, min) = (widen(block.scale[lane]), widen(block.min[lane]));
        for (input, weight) in weights.iter_mut().enumerate() {
            *weight = scale * f32::from(block.codes.get(lane, input)) + min;
        }
    }

    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &Self::Block, _: usize) -> impl Decoded<S, Quantised> {
        WithMin::<S> {
            codes: block.codes.load(s),
            scale: s.load_f16(&block.scale),
            min: s.load_f16(&block.min),
        }
    }
}
