//! How the decoded weights of a unit meet activations: what types have in common.

use super::Decoded;
use crate::{
    activation::{Quantised, UNIT},
    simd::Simd,
};

/// Thirty-two inputs of all lanes, in groups of four.
pub(super) type Unit<S> = [<S as Simd>::B; UNIT / 4];

/// Adds the products of some groups of four inputs. Codes are at most 127, unless it is `WIDE`.
#[inline(always)]
fn dots<S: Simd, const WIDE: bool>(s: S, mut sum: S::I, codes: &[S::B], x: &[[i8; 4]]) -> S::I {
    for (codes, x) in codes.iter().zip(x) {
        sum = if WIDE { s.dot_wide(sum, *codes, x) } else { s.dot(sum, *codes, x) };
    }
    sum
}

/// `w = scale (q - zero)`. Codes are at most 127, unless they are `WIDE`.
pub(super) struct Centred<S: Simd, const WIDE: bool> {
    pub(super) codes: Unit<S>,
    pub(super) zero: i32,
    pub(super) scale: S::F,
}

impl<S: Simd, const WIDE: bool> Decoded<S, Quantised> for Centred<S, WIDE> {
    #[inline(always)]
    fn add<const R: usize>(&self, s: S, x: &[Quantised; R], sums: &mut [S::F; R]) {
        for (x, sum) in x.iter().zip(sums) {
            let surplus = s.splat_i32(x.minus * self.zero);
            let dot = dots::<S, WIDE>(s, surplus, &self.codes, &x.codes);
            *sum = s.fma(s.to_f32(dot), s.mul(self.scale, s.splat(x.scale)), *sum);
        }
    }
}

/// `w = scale q + min`. Codes are at most 127.
pub(super) struct WithMin<S: Simd> {
    pub(super) codes: Unit<S>,
    pub(super) scale: S::F,
    pub(super) min: S::F,
}

impl<S: Simd> Decoded<S, Quantised> for WithMin<S> {
    #[inline(always)]
    fn add<const R: usize>(&self, s: S, x: &[Quantised; R], sums: &mut [S::F; R]) {
        for (x, sum) in x.iter().zip(sums) {
            let dot = dots::<S, false>(s, s.splat_i32(0), &self.codes, &x.codes);
            *sum = s.fma(s.to_f32(dot), s.mul(self.scale, s.splat(x.scale)), *sum);
            *sum = s.fma(self.min, s.splat(x.sum), *sum);
        }
    }
}

/// `w = scale q - min m`, where either half of the unit has its `m`. Codes are at most 127.
pub(super) struct WithMins<S: Simd> {
    pub(super) codes: Unit<S>,
    pub(super) scale: S::F,
    pub(super) min: S::F,
    /// Pairs of `m`.
    pub(super) mins: S::I,
}

impl<S: Simd> Decoded<S, Quantised> for WithMins<S> {
    #[inline(always)]
    fn add<const R: usize>(&self, s: S, x: &[Quantised; R], sums: &mut [S::F; R]) {
        for (x, sum) in x.iter().zip(sums) {
            let dot = dots::<S, false>(s, s.splat_i32(0), &self.codes, &x.codes);
            *sum = s.fma(s.to_f32(dot), s.mul(self.scale, s.splat(x.scale)), *sum);
            let less = s.dot_pairs(self.mins, x.halves);
            *sum = s.fma(s.to_f32(less), s.mul(self.min, s.splat(x.scale)), *sum);
        }
    }
}

/// `w = scale s (q - zero)`, where either half of the unit has its `s`. Codes are at most 127, and
/// both halves' sums times `s` below 2^24 together.
pub(super) struct ScaledHalves<S: Simd> {
    pub(super) codes: Unit<S>,
    pub(super) scale: S::F,
    pub(super) scales: [S::I; 2],
    /// Pairs of `s zero`.
    pub(super) zeros: S::I,
}

impl<S: Simd> Decoded<S, Quantised> for ScaledHalves<S> {
    #[inline(always)]
    fn add<const R: usize>(&self, s: S, x: &[Quantised; R], sums: &mut [S::F; R]) {
        let (low, high) = self.codes.split_at(UNIT / 8);
        for (x, sum) in x.iter().zip(sums) {
            let low = dots::<S, false>(s, s.splat_i32(0), low, &x.codes[..UNIT / 8]);
            let high = dots::<S, false>(s, s.splat_i32(0), high, &x.codes[UNIT / 8..]);
            let surplus = s.dot_pairs(self.zeros, x.halves);
            let dot = s.add_i32(s.mul_i32(low, self.scales[0]), surplus);
            let dot = s.add_i32(s.mul_i32(high, self.scales[1]), dot);
            *sum = s.fma(s.to_f32(dot), s.mul(self.scale, s.splat(x.scale)), *sum);
        }
    }
}
