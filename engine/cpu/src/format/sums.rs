//! How the codes of a unit meet activations, their scales and their zero points: what types have in
//! common. Each adds one unit's products with some rows, in the same order for every row.

use crate::{
    activation::{Quantised, UNIT},
    simd::Simd,
};

/// Thirty-two inputs of all lanes, in groups of four.
type Unit<S> = [<S as Simd>::B; UNIT / 4];

/// Adds the products of some groups of four inputs, whose codes are at most 127.
#[inline(always)]
fn dots<S: Simd>(s: S, mut sum: S::I, codes: &[S::B], x: &[[i8; 4]]) -> S::I {
    for (codes, x) in codes.iter().zip(x) {
        sum = s.dot(sum, *codes, x);
    }
    sum
}

/// The same for codes of any size.
#[inline(always)]
fn dots_wide<S: Simd>(s: S, mut sum: S::I, codes: &[S::B], x: &[[i8; 4]]) -> S::I {
    for (codes, x) in codes.iter().zip(x) {
        sum = s.dot_wide(sum, *codes, x);
    }
    sum
}

/// `w = d (q - zero)`.
#[inline(always)]
pub(super) fn centred<S: Simd, const R: usize>(
    s: S,
    (codes, zero): (&Unit<S>, i32),
    scale: S::F,
    x: &[Quantised; R],
    sums: &mut [S::F; R],
) {
    for (x, sum) in x.iter().zip(sums) {
        let surplus = s.splat_i32((x.minus[0] + x.minus[1]) * zero);
        let dot = dots(s, surplus, codes, &x.codes);
        *sum = s.fma(s.to_f32(dot), s.mul(scale, s.splat(x.scale)), *sum);
    }
}

/// `w = d (q - 128)`, with codes of eight bits.
#[inline(always)]
pub(super) fn centred_bytes<S: Simd, const R: usize>(
    s: S,
    codes: &Unit<S>,
    scale: S::F,
    x: &[Quantised; R],
    sums: &mut [S::F; R],
) {
    for (x, sum) in x.iter().zip(sums) {
        let surplus = s.splat_i32((x.minus[0] + x.minus[1]) << 7);
        let dot = dots_wide(s, surplus, codes, &x.codes);
        *sum = s.fma(s.to_f32(dot), s.mul(scale, s.splat(x.scale)), *sum);
    }
}

/// `w = d q + m`.
#[inline(always)]
pub(super) fn with_min<S: Simd, const R: usize>(
    s: S,
    codes: &Unit<S>,
    (scale, min): (S::F, S::F),
    x: &[Quantised; R],
    sums: &mut [S::F; R],
) {
    for (x, sum) in x.iter().zip(sums) {
        let dot = dots(s, s.splat_i32(0), codes, &x.codes);
        *sum = s.fma(s.to_f32(dot), s.mul(scale, s.splat(x.scale)), *sum);
        *sum = s.fma(min, s.splat(x.sum), *sum);
    }
}

/// `w = d s (q - zero)`, where either half of the unit has its `s`. Both sums times their scales
/// are below 2^24.
#[inline(always)]
pub(super) fn scaled_halves<S: Simd, const R: usize>(
    s: S,
    (codes, zero): (&Unit<S>, i32),
    (scale, scales): (S::F, [S::I; 2]),
    x: &[Quantised; R],
    sums: &mut [S::F; R],
) {
    for (x, sum) in x.iter().zip(sums) {
        let low = dots(s, s.splat_i32(x.minus[0] * zero), &codes[..4], &x.codes[..4]);
        let high = dots(s, s.splat_i32(x.minus[1] * zero), &codes[4..], &x.codes[4..]);
        let dot = s.add_i32(s.mul_i32(low, scales[0]), s.mul_i32(high, scales[1]));
        *sum = s.fma(s.to_f32(dot), s.mul(scale, s.splat(x.scale)), *sum);
    }
}

/// `w = d s (q - 128)`, with codes of eight bits, where the unit has its `s`. The sum times `s` is
/// below 2^24.
#[inline(always)]
pub(super) fn scaled_bytes<S: Simd, const R: usize>(
    s: S,
    codes: &Unit<S>,
    (scale, of_unit): (S::F, S::I),
    x: &[Quantised; R],
    sums: &mut [S::F; R],
) {
    for (x, sum) in x.iter().zip(sums) {
        let surplus = s.splat_i32((x.minus[0] + x.minus[1]) << 7);
        let dot = s.mul_i32(dots_wide(s, surplus, codes, &x.codes), of_unit);
        *sum = s.fma(s.to_f32(dot), s.mul(scale, s.splat(x.scale)), *sum);
    }
}

/// `w = d s q - m`, where the unit has its `s` and `m`. The sum times `s` is below 2^24.
#[inline(always)]
pub(super) fn scaled_with_min<S: Simd, const R: usize>(
    s: S,
    codes: &Unit<S>,
    (scale, of_unit, min): (S::F, S::I, S::F),
    x: &[Quantised; R],
    sums: &mut [S::F; R],
) {
    for (x, sum) in x.iter().zip(sums) {
        let dot = s.mul_i32(dots(s, s.splat_i32(0), codes, &x.codes), of_unit);
        *sum = s.fma(s.to_f32(dot), s.mul(scale, s.splat(x.scale)), *sum);
        *sum = s.fma(min, s.splat(-x.sum), *sum);
    }
}

/// `w = d s q - dmin m`, where either half of the unit has its `s` and `m`. Both sums times their
/// scales are below 2^24.
#[inline(always)]
pub(super) fn scaled_halves_with_mins<S: Simd, const R: usize>(
    s: S,
    codes: &Unit<S>,
    (scale, min): (S::F, S::F),
    (scales, mins): ([S::I; 2], [S::I; 2]),
    x: &[Quantised; R],
    sums: &mut [S::F; R],
) {
    for (x, sum) in x.iter().zip(sums) {
        let low = dots(s, s.splat_i32(0), &codes[..4], &x.codes[..4]);
        let high = dots(s, s.splat_i32(0), &codes[4..], &x.codes[4..]);
        let dot = s.add_i32(s.mul_i32(low, scales[0]), s.mul_i32(high, scales[1]));
        *sum = s.fma(s.to_f32(dot), s.mul(scale, s.splat(x.scale)), *sum);
        let (low, high) = (s.splat_i32(x.minus[0]), s.splat_i32(x.minus[1]));
        let less = s.add_i32(s.mul_i32(low, mins[0]), s.mul_i32(high, mins[1]));
        *sum = s.fma(s.to_f32(less), s.mul(min, s.splat(x.scale)), *sum);
    }
}
