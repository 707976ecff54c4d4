//! Codes of a few bits, thirty-two inputs of sixteen outputs at a time.

use bytemuck::Zeroable;

use crate::{
    activation::UNIT,
    simd::{LANES, Simd},
};

/// How the codes of a unit of sixteen outputs are stored. What was never set is zero.
pub(crate) trait Codes: Zeroable + Copy + Send + Sync + 'static {
    /// Writes a code where none was written before.
    fn set(&mut self, lane: usize, input: usize, code: u8);
    /// Reads a code back.
    fn get(&self, lane: usize, input: usize) -> u8;
    /// All codes: those of inputs `4 i..4 i + 4` of all lanes in the `i`th.
    fn load<S: Simd>(&self, s: S) -> [S::B; UNIT / 4];
}

/// Codes of a unit as most files have them.
pub(crate) trait FileCodes: Codes {
    /// Their bytes in a file.
    const FILE_BYTES: usize;
    /// Writes all codes of a lane.
    fn take(&mut self, lane: usize, bytes: &[u8]);
}

/// `BITS` bits of each code: 1, 2 or 4.
///
/// Inputs go by groups of four. Group `g` is in line `g % BITS`, in the `BITS` bits from `g / BITS
/// * BITS` on of bytes `4 lane..4 lane + 4`.
#[derive(Clone, Copy, Zeroable)]
#[repr(transparent)]
pub(crate) struct Plane<const BITS: usize>([[u8; 4 * LANES]; BITS]);

/// Byte `i` holds the codes of inputs `i` and `16 + i`, which is as they lie here.
impl FileCodes for Plane<4> {
    const FILE_BYTES: usize = UNIT / 2;

    fn take(&mut self, lane: usize, bytes: &[u8]) {
        for (line, codes) in self.0.iter_mut().zip(bytes.as_chunks::<4>().0) {
            line[4 * lane..][..4].copy_from_slice(codes);
        }
    }
}

/// Line, byte and shift of a code.
fn place<const BITS: usize>(lane: usize, input: usize) -> (usize, usize, usize) {
    let group = input / 4;
    (group % BITS, 4 * lane + input % 4, group / BITS * BITS)
}

impl<const BITS: usize> Codes for Plane<BITS> {
    fn set(&mut self, lane: usize, input: usize, code: u8) {
        let (line, byte, shift) = place::<BITS>(lane, input);
        self.0[line][byte] |= code << shift;
    }

    fn get(&self, lane: usize, input: usize) -> u8 {
        let (line, byte, shift) = place::<BITS>(lane, input);
        self.0[line][byte] >> shift & ((1 << BITS) - 1)
    }

    // Spelled out, for the compiler would call what builds an array from a function, and call every
    // instruction from there.
    #[inline(always)]
    fn load<S: Simd>(&self, s: S) -> [S::B; UNIT / 4] {
        match BITS {
            1 => {
                let x = s.load_bytes(&self.0[0]);
                [
                    s.bits::<0>(x, 1),
                    s.bits::<1>(x, 1),
                    s.bits::<2>(x, 1),
                    s.bits::<3>(x, 1),
                    s.bits::<4>(x, 1),
                    s.bits::<5>(x, 1),
                    s.bits::<6>(x, 1),
                    s.bits::<7>(x, 1),
                ]
            }
            2 => {
                let x = [s.load_bytes(&self.0[0]), s.load_bytes(&self.0[1])];
                [
                    s.bits::<0>(x[0], 3),
                    s.bits::<0>(x[1], 3),
                    s.bits::<2>(x[0], 3),
                    s.bits::<2>(x[1], 3),
                    s.bits::<4>(x[0], 3),
                    s.bits::<4>(x[1], 3),
                    s.bits::<6>(x[0], 3),
                    s.bits::<6>(x[1], 3),
                ]
            }
            _ => {
                let x = [
                    s.load_bytes(&self.0[0]),
                    s.load_bytes(&self.0[1]),
                    s.load_bytes(&self.0[2]),
                    s.load_bytes(&self.0[3]),
                ];
                [
                    s.bits::<0>(x[0], 15),
                    s.bits::<0>(x[1], 15),
                    s.bits::<0>(x[2], 15),
                    s.bits::<0>(x[3], 15),
                    s.bits::<4>(x[0], 15),
                    s.bits::<4>(x[1], 15),
                    s.bits::<4>(x[2], 15),
                    s.bits::<4>(x[3], 15),
                ]
            }
        }
    }
}

/// Codes of `LOW + HIGH` bits, stored apart; `LOW` is 2 or 4.
#[derive(Clone, Copy, Zeroable)]
#[repr(C)]
pub(crate) struct Joined<const LOW: usize, const HIGH: usize> {
    low: Plane<LOW>,
    high: Plane<HIGH>,
}

/// The high bits one by one, then the low bits.
impl FileCodes for Joined<4, 1> {
    const FILE_BYTES: usize = UNIT / 8 + UNIT / 2;

    fn take(&mut self, lane: usize, bytes: &[u8]) {
        let (high, low) = bytes.split_at(UNIT / 8);
        self.low.take(lane, low);
        for input in 0..UNIT {
            self.high.set(lane, input, high[input / 8] >> (input % 8) & 1);
        }
    }
}

impl<const LOW: usize, const HIGH: usize> Joined<LOW, HIGH> {
    #[inline(always)]
    fn join<S: Simd>(s: S, low: S::B, high: S::B) -> S::B {
        let high = if LOW == 4 { s.raise::<4>(high) } else { s.raise::<2>(high) };
        s.or(low, high)
    }
}

impl<const LOW: usize, const HIGH: usize> Codes for Joined<LOW, HIGH> {
    fn set(&mut self, lane: usize, input: usize, code: u8) {
        self.low.set(lane, input, code & ((1 << LOW) - 1));
        self.high.set(lane, input, code >> LOW);
    }

    fn get(&self, lane: usize, input: usize) -> u8 {
        self.low.get(lane, input) | self.high.get(lane, input) << LOW
    }

    #[inline(always)]
    fn load<S: Simd>(&self, s: S) -> [S::B; UNIT / 4] {
        let (low, high) = (self.low.load(s), self.high.load(s));
        [
            Self::join(s, low[0], high[0]),
            Self::join(s, low[1], high[1]),
            Self::join(s, low[2], high[2]),
            Self::join(s, low[3], high[3]),
            Self::join(s, low[4], high[4]),
            Self::join(s, low[5], high[5]),
            Self::join(s, low[6], high[6]),
            Self::join(s, low[7], high[7]),
        ]
    }
}

/// The weights that four-bit codes stand for, up to a scale.
pub(super) struct Book {
    /// By code, and raised by `zero`, for products take unsigned bytes.
    raised: [u8; 16],
    zero: u8,
}

impl Book {
    /// A book of these weights; `zero` is at least the size of the least.
    pub(super) const fn new(weights: [i8; 16], zero: u8) -> Self {
        let mut raised = [0; 16];
        let mut code = 0;
        while code < 16 {
            raised[code] = zero.strict_add_signed(weights[code]);
            code += 1;
        }
        Self { raised, zero }
    }

    /// What a code stands for.
    pub(super) fn weight(&self, code: u8) -> f32 {
        f32::from(self.raised[usize::from(code)]) - f32::from(self.zero)
    }

    /// What all codes of a unit stand for, raised.
    #[inline(always)]
    pub(super) fn raised<S: Simd>(&self, s: S, codes: [S::B; UNIT / 4]) -> [S::B; UNIT / 4] {
        [
            s.lookup(&self.raised, codes[0]),
            s.lookup(&self.raised, codes[1]),
            s.lookup(&self.raised, codes[2]),
            s.lookup(&self.raised, codes[3]),
            s.lookup(&self.raised, codes[4]),
            s.lookup(&self.raised, codes[5]),
            s.lookup(&self.raised, codes[6]),
            s.lookup(&self.raised, codes[7]),
        ]
    }
}
