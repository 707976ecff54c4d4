//! How the decoded weights of a unit meet activations: what types have in common.

use super::Decoded;
use crate::{
    activation::{Quantised, UNIT},
    simd::Simd,
};

/// Thirty-two inputs of all lanes, in groups of four.
pub(super) type Unit<S> = [<S as Simd>::B; UNIT / 4];

/// Adds the products of some rows with groups of four inputs, the first of which is group `from`.
/// Codes are at most 127, unless they are `WIDE`.
///
/// Rows take turns: a row's next product waits for its last one.
#[inline(always)]
fn dots<S: Simd, const WIDE: bool, const R: usize>(
    s: S,
    sums: &mut [S::I; R],
    codes: &[S::B],
    x: &[Quantised; R],
    from: usize,
) {
    for (group, codes) in codes.iter().enumerate() {
        for (x, sum) in x.iter().zip(sums.iter_mut()) {
            let x = &x.codes[from + group];
            *sum = if WIDE { s.dot_wide(*sum, *codes, x) } else { s.dot(*sum, *codes, x) };
        }
    }
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
        let mut products = [s.splat_i32(0); R];
        for (x, product) in x.iter().zip(&mut products) {
            *product = s.splat_i32(x.minus * self.zero);
        }
        dots::<S, WIDE, R>(s, &mut products, &self.codes, x, 0);
        for ((x, sum), product) in x.iter().zip(sums).zip(products) {
            *sum = s.fma(s.to_f32(product), s.mul(self.scale, s.splat(x.scale)), *sum);
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
        let mut products = [s.splat_i32(0); R];
        dots::<S, false, R>(s, &mut products, &self.codes, x, 0);
        for ((x, sum), product) in x.iter().zip(sums).zip(products) {
            *sum = s.fma(s.to_f32(product), s.mul(self.scale, s.splat(x.scale)), *sum);
            *sum = s.fma(self.min, s.splat(x.sum), *sum);
        }
    }
}

/// The weights of either half of a unit, where each has its scale: `w = scale (q - zero)`. Codes
/// are at most 127.
pub(super) struct Halves<S: Simd> {
    pub(super) codes: Unit<S>,
    pub(super) zero: i32,
    pub(super) scales: [S::F; 2],
}

impl<S: Simd> Halves<S> {
    /// The products with some rows, up to the rows' scales.
    #[inline(always)]
    fn products<const R: usize>(&self, s: S, x: &[Quantised; R]) -> [S::F; R] {
        let mut products = [s.zero(); R];
        for half in [0, 1] {
            let mut sums = [s.splat_i32(0); R];
            for (x, sum) in x.iter().zip(&mut sums) {
                *sum = s.splat_i32(i32::from(x.halves[half]) * self.zero);
            }
            let first = half * UNIT / 8;
            dots::<S, false, R>(s, &mut sums, &self.codes[first..first + UNIT / 8], x, first);
            for (sum, product) in sums.into_iter().zip(&mut products) {
                *product = s.fma(s.to_f32(sum), self.scales[half], *product);
            }
        }
        products
    }
}

impl<S: Simd> Decoded<S, Quantised> for Halves<S> {
    #[inline(always)]
    fn add<const R: usize>(&self, s: S, x: &[Quantised; R], sums: &mut [S::F; R]) {
        let products = self.products(s, x);
        for ((x, sum), product) in x.iter().zip(sums).zip(products) {
            *sum = s.fma(product, s.splat(x.scale), *sum);
        }
    }
}

/// The same with `min m` taken off each weight, where either half has its `m`.
pub(super) struct HalvesWithMins<S: Simd> {
    pub(super) halves: Halves<S>,
    pub(super) min: S::F,
    /// Both `m` of each lane.
    pub(super) mins: S::I,
}

impl<S: Simd> Decoded<S, Quantised> for HalvesWithMins<S> {
    #[inline(always)]
    fn add<const R: usize>(&self, s: S, x: &[Quantised; R], sums: &mut [S::F; R]) {
        let products = self.halves.products(s, x);
        for ((x, sum), product) in x.iter().zip(sums).zip(products) {
            // The row has its sums negated, as is wanted here.
            let less = s.to_f32(s.dot_halves(self.mins, x.halves));
            *sum = s.fma(s.fma(less, self.min, product), s.splat(x.scale), *sum);
        }
    }
}
