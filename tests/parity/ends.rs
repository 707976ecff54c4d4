//! The way in and out of a backend's buffers, and how far two backends are apart.

use engine_backend::Backend;
use engine_cuda::{Buffer, CudaBackend, Element};

use crate::dice::Dice;
use crate::naive::{Naive, Rows};

/// A backend whose buffers can be filled and read.
pub(crate) trait Ends: Backend {
    /// A buffer whose memory holds no number.
    fn poisoned(&mut self, rows: usize, width: usize) -> Self::Buffer;
    /// A buffer of these rows, as an operation other than a product reads them.
    fn floats(&mut self, width: usize, values: &[f32]) -> Self::Buffer;
    /// A buffer of these rows, as products read them; they are bf16 already.
    fn halves(&mut self, width: usize, values: &[f32]) -> Self::Buffer;
    fn values(&mut self, buffer: &Self::Buffer) -> Vec<f32>;
}

impl Ends for Naive {
    fn poisoned(&mut self, rows: usize, width: usize) -> Rows {
        let mut buffer = self.buffer(rows, width).expect("a working device");
        buffer.values = vec![f32::NAN; rows * width];
        buffer
    }

    fn floats(&mut self, width: usize, values: &[f32]) -> Rows {
        let mut buffer = self.buffer(0, width).expect("a working device");
        buffer.values = values.to_vec();
        buffer
    }

    fn halves(&mut self, width: usize, values: &[f32]) -> Rows {
        self.floats(width, values)
    }

    fn values(&mut self, buffer: &Rows) -> Vec<f32> {
        buffer.values.clone()
    }
}

impl Ends for CudaBackend {
    fn poisoned(&mut self, rows: usize, width: usize) -> Buffer {
        let buffer = self.buffer(rows, width).expect("a working device");
        self.poison(&buffer, 0xff).expect("a working device");
        buffer
    }

    fn floats(&mut self, width: usize, values: &[f32]) -> Buffer {
        let mut buffer = self.buffer(values.len() / width, width).expect("a working device");
        self.write(&mut buffer, values.len() / width, Element::F32, values)
            .expect("a working device");
        buffer
    }

    fn halves(&mut self, width: usize, values: &[f32]) -> Buffer {
        let mut buffer = self.buffer(values.len() / width, width).expect("a working device");
        self.write(&mut buffer, values.len() / width, Element::Bf16, values)
            .expect("a working device");
        buffer
    }

    fn values(&mut self, buffer: &Buffer) -> Vec<f32> {
        self.finish().expect("a working device");
        buffer.values().expect("a working device")
    }
}

/// Numbers around zero, most of them below one.
pub(crate) fn numbers(count: usize, dice: &mut Dice) -> Vec<f32> {
    (0..count).map(|_| spread(dice)).collect()
}

/// The same, each one a bf16.
pub(crate) fn coarse(count: usize, dice: &mut Dice) -> Vec<f32> {
    (0..count).map(|_| half::bf16::from_f32(spread(dice)).to_f32()).collect()
}

/// Below `end`, and at least `begin`.
pub(crate) fn between(begin: usize, end: usize, dice: &mut Dice) -> usize {
    begin + dice.below(end - begin)
}

/// The sum of three even draws.
fn spread(dice: &mut Dice) -> f32 {
    (0..3).map(|_| (dice.next() >> 40) as f32 / (1 << 23) as f32 - 1.0).sum()
}

/// Fails unless `found` is `expected`, but for so small a part of its size.
pub(crate) fn near(found: &[f32], expected: &[f32], most: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    let square = |x: f64| x * x;
    let size: f64 = expected.iter().map(|&x| square(x.into())).sum();
    let pairs = found.iter().zip(expected);
    let off: f64 = pairs.map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    let error = (off / size.max(f64::MIN_POSITIVE)).sqrt();
    // What is not a number is not near.
    assert!(error <= most, "{what}: off by {error:e}, at most {most:e} is right");
}
