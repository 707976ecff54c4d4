//! The definition of [`Simd`], in plain Rust.

use half::{bf16, f16};

use super::lanes::{LANES, Simd};

/// Plain Rust; every machine has it.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

type F = [f32; LANES];

#[inline(always)]
fn zip(a: F, b: F, f: impl Fn(f32, f32) -> f32) -> F {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// Folds the lanes by halves: 16 to 8 to 4 to 2 to 1.
#[inline(always)]
fn by_halves(mut x: F, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut n = LANES / 2;
    while n > 0 {
        for i in 0..n {
            x[i] = f(x[i], x[i + n]);
        }
        n /= 2;
    }
    x[0]
}

impl Simd for Portable {
    type F = F;
    type I = [i32; LANES];
    type B = [u8; 64];

    const ROWS: usize = 4;

    fn prefetch<T>(self, _: &T) {}
    fn splat(self, x: f32) -> F {
        [x; LANES]
    }
    fn load(self, x: &[f32; LANES]) -> F {
        *x
    }
    fn store(self, x: F, to: &mut [f32; LANES]) {
        *to = x;
    }
    fn load_f16(self, x: &[u16; LANES]) -> F {
        x.map(|bits| f16::from_bits(bits).to_f32())
    }
    fn store_f16(self, x: F, to: &mut [u16; LANES]) {
        *to = x.map(|x| f16::from_f32(x).to_bits());
    }
    fn load_bf16(self, x: &[u16; LANES]) -> F {
        x.map(|bits| bf16::from_bits(bits).to_f32())
    }
    fn add(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a + b)
    }
    fn sub(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a - b)
    }
    fn mul(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a * b)
    }
    fn div(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a / b)
    }
    fn fma(self, a: F, b: F, c: F) -> F {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    fn max(self, a: F, b: F) -> F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    fn min(self, a: F, b: F) -> F {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    fn round(self, x: F) -> F {
        x.map(f32::round_ties_even)
    }
    fn pow2(self, n: F) -> F {
        n.map(|n| f32::from_bits(((n as i32).wrapping_add(127) << 23) as u32))
    }
    fn below(self, x: F, limit: F, then: F, otherwise: F) -> F {
        std::array::from_fn(|i| if x[i] < limit[i] { then[i] } else { otherwise[i] })
    }
    fn first(self, n: usize, x: F, otherwise: F) -> F {
        std::array::from_fn(|i| if i < n { x[i] } else { otherwise[i] })
    }
    fn sum(self, x: F) -> f32 {
        by_halves(x, |a, b| a + b)
    }
    fn largest(self, x: F) -> f32 {
        by_halves(x, |a, b| if a > b { a } else { b })
    }
    fn to_i8(self, x: F) -> [i8; LANES] {
        x.map(|x| x.round_ties_even() as i8)
    }

    fn splat_i32(self, x: i32) -> Self::I {
        [x; LANES]
    }
    fn load_i8(self, x: &[i8; LANES]) -> Self::I {
        x.map(i32::from)
    }
    fn dot_halves(self, halves: Self::I, x: [i16; 2]) -> Self::I {
        halves.map(|both| {
            let [low, high] = [both as i16, (both >> 16) as i16].map(i32::from);
            low * i32::from(x[0]) + high * i32::from(x[1])
        })
    }
    fn to_f32(self, x: Self::I) -> F {
        x.map(|x| x as f32)
    }

    fn load_bytes(self, x: &[u8; 64]) -> Self::B {
        *x
    }
    fn bits<const SHIFT: u32>(self, x: Self::B, mask: u8) -> Self::B {
        x.map(|x| (x >> SHIFT) & mask)
    }
    fn halves(self, x: Self::B, shift: u32, mask: i16) -> Self::I {
        std::array::from_fn(|i| {
            let half = |at| {
                let bits = u16::from_le_bytes([x[4 * i + at], x[4 * i + at + 1]]);
                i32::from(bits >> shift & mask.cast_unsigned())
            };
            half(0) | half(2) << 16
        })
    }
    fn raise<const SHIFT: u32>(self, x: Self::B) -> Self::B {
        x.map(|x| x << SHIFT)
    }
    fn or(self, a: Self::B, b: Self::B) -> Self::B {
        std::array::from_fn(|i| a[i] | b[i])
    }
    fn lookup(self, table: &[u8; 16], x: Self::B) -> Self::B {
        x.map(|x| table[usize::from(x % 16)])
    }
    fn dot(self, sum: Self::I, codes: Self::B, x: &[i8; 4]) -> Self::I {
        self.dot_wide(sum, codes, x)
    }
    fn dot_wide(self, sum: Self::I, codes: Self::B, x: &[i8; 4]) -> Self::I {
        let mut sum = sum;
        for (lane, sum) in sum.iter_mut().enumerate() {
            for i in 0..4 {
                *sum += i32::from(codes[4 * lane + i]) * i32::from(x[i]);
            }
        }
        sum
    }
}
