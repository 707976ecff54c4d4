//! [`Simd`] on AVX-512 with VNNI: one register is one vector.

use std::arch::x86_64::*;

use super::lanes::{Kernel, LANES, Simd};

/// Proof that the machine has AVX-512 F, BW, DQ, VL and VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The proof, if the machine has them.
    pub(crate) fn detect() -> Option<Self> {
        let found = std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("avx512dq")
            && std::is_x86_feature_detected!("avx512vl")
            && std::is_x86_feature_detected!("avx512vnni")
            && std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("fma")
            && std::is_x86_feature_detected!("f16c");
        found.then_some(Self(()))
    }

    /// Runs a kernel compiled for these instructions.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn compiled<K: Kernel>(isa: Avx512, kernel: K) -> K::Output {
            kernel.call(isa)
        }
        // SAFETY: `self` exists only where `detect` found every feature named above.
        unsafe { compiled(self, kernel) }
    }
}

/// Intrinsics inside a method of [`Avx512`].
macro_rules! proven {
    ($body:expr) => {
        // SAFETY: the receiver is the proof that the machine has these instructions, and every
        // pointer comes from a reference to as many bytes as the instruction touches; no alignment
        // is asked.
        unsafe { $body }
    };
}

impl Simd for Avx512 {
    type F = __m512;
    type I = __m512i;
    type B = __m512i;

    const ROWS: usize = 16;

    #[inline(always)]
    fn prefetch<T>(self, x: &T) {
        let start = std::ptr::from_ref(x).cast::<i8>();
        for line in (0..size_of::<T>()).step_by(64) {
            proven!(_mm_prefetch::<_MM_HINT_T0>(start.add(line)));
        }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        proven!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> __m512 {
        proven!(_mm512_loadu_ps(x.as_ptr()))
    }
    #[inline(always)]
    fn store(self, x: __m512, to: &mut [f32; LANES]) {
        proven!(_mm512_storeu_ps(to.as_mut_ptr(), x))
    }
    #[inline(always)]
    fn load_f16(self, x: &[u16; LANES]) -> __m512 {
        proven!(_mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast())))
    }
    #[inline(always)]
    fn store_f16(self, x: __m512, to: &mut [u16; LANES]) {
        proven!(_mm256_storeu_si256(
            to.as_mut_ptr().cast(),
            _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)
        ))
    }
    #[inline(always)]
    fn load_bf16(self, x: &[u16; LANES]) -> __m512 {
        proven!(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(
            _mm256_loadu_si256(x.as_ptr().cast())
        ))))
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        proven!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_min_ps(a, b))
    }
    #[inline(always)]
    fn round(self, x: __m512) -> __m512 {
        proven!(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x))
    }
    #[inline(always)]
    fn pow2(self, n: __m512) -> __m512 {
        proven!({
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        })
    }
    #[inline(always)]
    fn below(self, x: __m512, limit: __m512, then: __m512, otherwise: __m512) -> __m512 {
        proven!({
            let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, limit);
            _mm512_mask_blend_ps(below, otherwise, then)
        })
    }
    #[inline(always)]
    fn first(self, n: usize, x: __m512, otherwise: __m512) -> __m512 {
        let mask = ((1_u32 << n.min(LANES)) - 1) as u16;
        proven!(_mm512_mask_blend_ps(mask, otherwise, x))
    }
    #[inline(always)]
    fn sum(self, x: __m512) -> f32 {
        proven!({
            let x = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
        })
    }
    #[inline(always)]
    fn largest(self, x: __m512) -> f32 {
        proven!({
            let x = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps::<1>(x, x)))
        })
    }
    #[inline(always)]
    fn to_i8(self, x: __m512) -> [i8; LANES] {
        let mut bytes = [0; LANES];
        proven!(_mm_storeu_si128(
            bytes.as_mut_ptr().cast(),
            _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x))
        ));
        bytes
    }

    #[inline(always)]
    fn splat_i32(self, x: i32) -> __m512i {
        proven!(_mm512_set1_epi32(x))
    }
    #[inline(always)]
    fn load_i8(self, x: &[i8; LANES]) -> __m512i {
        proven!(_mm512_cvtepi8_epi32(_mm_loadu_si128(x.as_ptr().cast())))
    }
    #[inline(always)]
    fn dot_halves(self, halves: __m512i, x: [i16; 2]) -> __m512i {
        let x = i32::from(x[0].cast_unsigned()) | i32::from(x[1]) << 16;
        proven!(_mm512_madd_epi16(halves, _mm512_set1_epi32(x)))
    }
    #[inline(always)]
    fn to_f32(self, x: __m512i) -> __m512 {
        proven!(_mm512_cvtepi32_ps(x))
    }

    #[inline(always)]
    fn load_bytes(self, x: &[u8; 64]) -> __m512i {
        proven!(_mm512_loadu_si512(x.as_ptr().cast()))
    }
    #[inline(always)]
    fn bits<const SHIFT: u32>(self, x: __m512i, mask: u8) -> __m512i {
        proven!(_mm512_and_si512(
            _mm512_srli_epi16::<SHIFT>(x),
            _mm512_set1_epi8(mask.cast_signed())
        ))
    }
    #[inline(always)]
    fn halves(self, x: __m512i, shift: u32, mask: i16) -> __m512i {
        proven!(_mm512_and_si512(
            _mm512_srl_epi16(x, _mm_cvtsi32_si128(shift.cast_signed())),
            _mm512_set1_epi16(mask)
        ))
    }
    #[inline(always)]
    fn raise<const SHIFT: u32>(self, x: __m512i) -> __m512i {
        proven!(_mm512_slli_epi16::<SHIFT>(x))
    }
    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        proven!(_mm512_or_si512(a, b))
    }
    #[inline(always)]
    fn lookup(self, table: &[u8; 16], x: __m512i) -> __m512i {
        proven!({
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            _mm512_shuffle_epi8(table, x)
        })
    }
    #[inline(always)]
    fn dot(self, sum: __m512i, codes: __m512i, x: &[i8; 4]) -> __m512i {
        self.dot_wide(sum, codes, x)
    }
    #[inline(always)]
    fn dot_wide(self, sum: __m512i, codes: __m512i, x: &[i8; 4]) -> __m512i {
        let x = i32::from_le_bytes(x.map(i8::cast_unsigned));
        proven!(_mm512_dpbusd_epi32(sum, codes, _mm512_set1_epi32(x)))
    }
}
