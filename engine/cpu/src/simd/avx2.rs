//! [`Simd`] on AVX2 with FMA and F16C: two registers are one vector.

use std::arch::x86_64::*;

use super::lanes::{Kernel, LANES, Simd};

/// Proof that the machine has AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// The proof, if the machine has them.
    pub(crate) fn detect() -> Option<Self> {
        let found = std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("fma")
            && std::is_x86_feature_detected!("f16c");
        found.then_some(Self(()))
    }

    /// Runs a kernel compiled for these instructions.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn compiled<K: Kernel>(isa: Avx2, kernel: K) -> K::Output {
            kernel.call(isa)
        }
        // SAFETY: `self` exists only where `detect` found every feature named above.
        unsafe { compiled(self, kernel) }
    }
}

/// Intrinsics inside a method of [`Avx2`].
macro_rules! proven {
    ($body:expr) => {
        // SAFETY: the receiver is the proof that the machine has these instructions, and every
        // pointer comes from a reference to as many bytes as the instruction touches; no alignment
        // is asked.
        unsafe { $body }
    };
}

/// Applies one instruction to both halves.
macro_rules! both {
    ($f:ident, $($x:expr),+) => {
        proven!([$f($($x[0]),+), $f($($x[1]),+)])
    };
}

/// Adds the products of the codes' and the inputs' bytes to the lanes; `ones` weighs each pair.
macro_rules! dot_half {
    ($sum:expr, $codes:expr, $x:expr, $ones:expr) => {
        _mm256_add_epi32($sum, _mm256_madd_epi16(_mm256_maddubs_epi16($codes, $x), $ones))
    };
}

impl Simd for Avx2 {
    type F = [__m256; 2];
    type I = [__m256i; 2];
    type B = [__m256i; 2];

    const ROWS: usize = 4;

    #[inline(always)]
    fn prefetch<T>(self, x: &T) {
        let start = std::ptr::from_ref(x).cast::<i8>();
        for line in (0..size_of::<T>()).step_by(64) {
            proven!(_mm_prefetch::<_MM_HINT_T0>(start.add(line)));
        }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        proven!([_mm256_set1_ps(x); 2])
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F {
        proven!([_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x[8..].as_ptr())])
    }
    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32; LANES]) {
        proven!({
            _mm256_storeu_ps(to.as_mut_ptr(), x[0]);
            _mm256_storeu_ps(to[8..].as_mut_ptr(), x[1]);
        })
    }
    #[inline(always)]
    fn load_f16(self, x: &[u16; LANES]) -> Self::F {
        proven!([
            _mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().cast())),
            _mm256_cvtph_ps(_mm_loadu_si128(x[8..].as_ptr().cast()))
        ])
    }
    #[inline(always)]
    fn store_f16(self, x: Self::F, to: &mut [u16; LANES]) {
        proven!({
            let halves = both_f16(x);
            _mm_storeu_si128(to.as_mut_ptr().cast(), halves[0]);
            _mm_storeu_si128(to[8..].as_mut_ptr().cast(), halves[1]);
        })
    }
    #[inline(always)]
    fn load_bf16(self, x: &[u16; LANES]) -> Self::F {
        proven!({
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(x.as_ptr().cast()));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(x[8..].as_ptr().cast()));
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)),
            ]
        })
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_add_ps, a, b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_sub_ps, a, b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_mul_ps, a, b)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_div_ps, a, b)
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        both!(_mm256_fmadd_ps, a, b, c)
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_max_ps, a, b)
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_min_ps, a, b)
    }
    #[inline(always)]
    fn round(self, x: Self::F) -> Self::F {
        proven!([
            _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x[0]),
            _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x[1])
        ])
    }
    #[inline(always)]
    fn pow2(self, n: Self::F) -> Self::F {
        proven!({
            let bias = _mm256_set1_epi32(127);
            let low = _mm256_add_epi32(_mm256_cvtps_epi32(n[0]), bias);
            let high = _mm256_add_epi32(_mm256_cvtps_epi32(n[1]), bias);
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(high)),
            ]
        })
    }
    #[inline(always)]
    fn below(self, x: Self::F, limit: Self::F, then: Self::F, otherwise: Self::F) -> Self::F {
        let mask = both!(_mm256_cmp_lt, x, limit);
        both!(_mm256_blendv_ps, otherwise, then, mask)
    }
    #[inline(always)]
    fn first(self, n: usize, x: Self::F, otherwise: Self::F) -> Self::F {
        proven!({
            let n = _mm256_set1_epi32(n.min(LANES) as i32);
            let low = _mm256_cmpgt_epi32(n, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
            let high = _mm256_cmpgt_epi32(n, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15));
            [
                _mm256_blendv_ps(otherwise[0], x[0], _mm256_castsi256_ps(low)),
                _mm256_blendv_ps(otherwise[1], x[1], _mm256_castsi256_ps(high)),
            ]
        })
    }
    #[inline(always)]
    fn sum(self, x: Self::F) -> f32 {
        proven!({
            let x = _mm256_add_ps(x[0], x[1]);
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
        })
    }
    #[inline(always)]
    fn largest(self, x: Self::F) -> f32 {
        proven!({
            let x = _mm256_max_ps(x[0], x[1]);
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps::<1>(x, x)))
        })
    }
    #[inline(always)]
    fn to_i8(self, x: Self::F) -> [i8; LANES] {
        let mut bytes = [0; LANES];
        let x = both!(_mm256_cvtps_epi32, x);
        proven!({
            // The pack works within 128-bit halves; the permutation puts the lanes back in order.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(x[0], x[1]));
            let (low, high) = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm_packs_epi16(low, high));
        });
        bytes
    }

    #[inline(always)]
    fn splat_i32(self, x: i32) -> Self::I {
        proven!([_mm256_set1_epi32(x); 2])
    }
    #[inline(always)]
    fn load_i8(self, x: &[i8; LANES]) -> Self::I {
        proven!({
            let bytes = _mm_loadu_si128(x.as_ptr().cast());
            [_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128::<8>(bytes))]
        })
    }
    #[inline(always)]
    fn dot_halves(self, halves: Self::I, x: [i16; 2]) -> Self::I {
        let x = i32::from(x[0].cast_unsigned()) | i32::from(x[1]) << 16;
        proven!({
            let x = _mm256_set1_epi32(x);
            [_mm256_madd_epi16(halves[0], x), _mm256_madd_epi16(halves[1], x)]
        })
    }
    #[inline(always)]
    fn to_f32(self, x: Self::I) -> Self::F {
        both!(_mm256_cvtepi32_ps, x)
    }

    #[inline(always)]
    fn load_bytes(self, x: &[u8; 64]) -> Self::B {
        proven!([
            _mm256_loadu_si256(x.as_ptr().cast()),
            _mm256_loadu_si256(x[32..].as_ptr().cast())
        ])
    }
    #[inline(always)]
    fn bits<const SHIFT: u32>(self, x: Self::B, mask: u8) -> Self::B {
        proven!({
            let mask = _mm256_set1_epi8(mask.cast_signed());
            let n = _mm_cvtsi32_si128(SHIFT as i32);
            [
                _mm256_and_si256(_mm256_srl_epi16(x[0], n), mask),
                _mm256_and_si256(_mm256_srl_epi16(x[1], n), mask),
            ]
        })
    }
    #[inline(always)]
    fn halves(self, x: Self::B, shift: u32, mask: i16) -> Self::I {
        proven!({
            let (n, mask) = (_mm_cvtsi32_si128(shift.cast_signed()), _mm256_set1_epi16(mask));
            [
                _mm256_and_si256(_mm256_srl_epi16(x[0], n), mask),
                _mm256_and_si256(_mm256_srl_epi16(x[1], n), mask),
            ]
        })
    }
    #[inline(always)]
    fn raise<const SHIFT: u32>(self, x: Self::B) -> Self::B {
        proven!({
            let n = _mm_cvtsi32_si128(SHIFT as i32);
            [_mm256_sll_epi16(x[0], n), _mm256_sll_epi16(x[1], n)]
        })
    }
    #[inline(always)]
    fn or(self, a: Self::B, b: Self::B) -> Self::B {
        both!(_mm256_or_si256, a, b)
    }
    #[inline(always)]
    fn lookup(self, table: &[u8; 16], x: Self::B) -> Self::B {
        proven!({
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            [_mm256_shuffle_epi8(table, x[0]), _mm256_shuffle_epi8(table, x[1])]
        })
    }
    #[inline(always)]
    fn dot(self, sum: Self::I, codes: Self::B, x: &[i8; 4]) -> Self::I {
        let x = i32::from_le_bytes(x.map(i8::cast_unsigned));
        // Two products of at most 127 * 127 fit 16 bits.
        proven!({
            let x = _mm256_set1_epi32(x);
            let ones = _mm256_set1_epi16(1);
            [dot_half!(sum[0], codes[0], x, ones), dot_half!(sum[1], codes[1], x, ones)]
        })
    }
    #[inline(always)]
    fn dot_wide(self, sum: Self::I, codes: Self::B, x: &[i8; 4]) -> Self::I {
        // Two products of 255 * 127 would saturate 16 bits, so the top bit goes on its own.
        let sum = self.dot(sum, self.bits::<0>(codes, 0x7f), x);
        let top = self.bits::<7>(codes, 1);
        let x = i32::from_le_bytes(x.map(i8::cast_unsigned));
        proven!({
            let x = _mm256_set1_epi32(x);
            let weight = _mm256_set1_epi16(128);
            [dot_half!(sum[0], top[0], x, weight), dot_half!(sum[1], top[1], x, weight)]
        })
    }
}

/// `a < b` as a mask.
#[target_feature(enable = "avx")]
#[inline]
fn _mm256_cmp_lt(a: __m256, b: __m256) -> __m256 {
    _mm256_cmp_ps::<_CMP_LT_OQ>(a, b)
}

/// Rounds both halves to f16.
#[target_feature(enable = "avx,f16c")]
#[inline]
fn both_f16(x: [__m256; 2]) -> [__m128i; 2] {
    [
        _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[0]),
        _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[1]),
    ]
}
