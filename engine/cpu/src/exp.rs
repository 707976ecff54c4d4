//! The exponential function.

use crate::simd::{LANES, Simd};

/// Below, the result is zero: it would be subnormal.
const LOW: f32 = -87.3;
/// Above, the result is that of `HIGH`, 1.6e38.
const HIGH: f32 = 88.0;

/// `e^x` to a few units in the last place: exactly 1 at 0, 0 below -87.3, not a number where `x`
/// isn't.
///
/// The reduction and the polynomial are those of `expf` in Moshier's Cephes library.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    // The second operand wins where one is not a number.
    let clamped = s.min(s.splat(HIGH), s.max(s.splat(LOW), x));
    let n = s.round(s.mul(clamped, s.splat(std::f32::consts::LOG2_E)));
    let r = s.fma(n, s.splat(-0.693_359_4), clamped);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    let mut sum = s.splat(1.987_569_2e-4);
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = s.fma(sum, r, s.splat(coefficient));
    }
    let sum = s.fma(s.mul(r, r), sum, s.add(r, s.splat(1.0)));
    s.below(x, s.splat(LOW), s.zero(), s.mul(sum, s.pow2(n)))
}

/// `e^x` of a single number.
#[inline(always)]
pub(crate) fn exp_of<S: Simd>(s: S, x: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    s.store(exp(s, s.splat(x)), &mut lanes);
    lanes[0]
}
