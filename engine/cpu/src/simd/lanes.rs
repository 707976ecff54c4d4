//! What an instruction set offers: sixteen lanes of f32 or i32, and 64 bytes.

/// Lanes of a vector, and outputs of a tile.
pub(crate) const LANES: usize = 16;

/// Sixteen lanes, whatever the machine has underneath.
///
/// A value of an implementing type is the proof that the machine has its instructions. Every
/// operation gives the same bits on every implementation, so that [`super::portable`] defines them
/// all: fused multiply-adds round once everywhere, and sums over lanes go by halves.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Sixteen f32.
    type F: Copy;
    /// Sixteen i32.
    type I: Copy;
    /// Sixty-four bytes: four for each lane.
    type B: Copy;

    /// Most accumulators that a product keeps in registers.
    const ROWS: usize;

    /// Asks for a value to be brought near; changes nothing.
    fn prefetch<T>(self, x: &T);
    /// Zero in every lane.
    fn zero(self) -> Self::F {
        self.splat(0.0)
    }
    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::F;
    /// Reads sixteen lanes.
    fn load(self, x: &[f32; LANES]) -> Self::F;
    /// Writes sixteen lanes.
    fn store(self, x: Self::F, to: &mut [f32; LANES]);
    /// Widens sixteen halves, given by their bits.
    fn load_f16(self, x: &[u16; LANES]) -> Self::F;
    /// Rounds to sixteen halves, ties to even.
    fn store_f16(self, x: Self::F, to: &mut [u16; LANES]);
    /// Widens sixteen bfloat16, given by their bits.
    fn load_bf16(self, x: &[u16; LANES]) -> Self::F;
    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a > b ? a : b`: the second if either is not a number.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a < b ? a : b`: the second if either is not a number.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// The nearest integer, ties to even.
    fn round(self, x: Self::F) -> Self::F;
    /// `2^n` for integers `n` in `-126..=127`.
    fn pow2(self, n: Self::F) -> Self::F;
    /// `x < limit ? then : x` of `otherwise`; `otherwise` if `x` is not a number.
    fn below(self, x: Self::F, limit: Self::F, then: Self::F, otherwise: Self::F) -> Self::F;
    /// The first `n` lanes of `x`, the others from `otherwise`.
    fn first(self, n: usize, x: Self::F, otherwise: Self::F) -> Self::F;
    /// The sum of all lanes, by halves.
    fn sum(self, x: Self::F) -> f32;
    /// The largest lane.
    fn largest(self, x: Self::F) -> f32;
    /// Rounds lanes of `-127.0..=127.0` to the nearest integer, ties to even.
    fn to_i8(self, x: Self::F) -> [i8; LANES];

    /// `x` in every lane.
    fn splat_i32(self, x: i32) -> Self::I;
    /// Widens sixteen bytes.
    fn load_i8(self, x: &[i8; LANES]) -> Self::I;
    /// In each lane, the product of its two halves and of `x`, which must not overflow.
    fn dot_halves(self, halves: Self::I, x: [i16; 2]) -> Self::I;
    /// To f32, rounded to nearest.
    fn to_f32(self, x: Self::I) -> Self::F;

    /// Reads sixty-four bytes.
    fn load_bytes(self, x: &[u8; 64]) -> Self::B;
    /// `(byte >> SHIFT) & mask`, where `mask` has no bit above `7 - SHIFT`.
    fn bits<const SHIFT: u32>(self, x: Self::B, mask: u8) -> Self::B;
    /// `(half >> shift) & mask`, for the two halves of each lane.
    fn halves(self, x: Self::B, shift: u32, mask: i16) -> Self::I;
    /// `byte << SHIFT`, where no bit leaves its byte.
    fn raise<const SHIFT: u32>(self, x: Self::B) -> Self::B;
    /// `a | b`.
    fn or(self, a: Self::B, b: Self::B) -> Self::B;
    /// `table[byte]`, for bytes of `0..16`.
    fn lookup(self, table: &[u8; 16], x: Self::B) -> Self::B;
    /// Adds to each lane the product of its four bytes, `0..=127`, and of the four signed bytes of
    /// `x`, `-127..=127`.
    fn dot(self, sum: Self::I, codes: Self::B, x: &[i8; 4]) -> Self::I;
    /// [`Simd::dot`] for bytes of `0..=255`.
    fn dot_wide(self, sum: Self::I, codes: Self::B, x: &[i8; 4]) -> Self::I;
}

/// A computation written once for every instruction set.
///
/// `call` must be `#[inline(always)]`, and so must the functions over [`Simd`] that it calls: that
/// is how the compiler sees them together with the instructions of one set.
pub(crate) trait Kernel {
    /// What it computes.
    type Output;
    /// Computes it.
    fn call<S: Simd>(self, s: S) -> Self::Output;
}
