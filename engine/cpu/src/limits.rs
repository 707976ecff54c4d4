//! What this machine can do at most, measured: what timings of operations are held against.

use std::{hint::black_box, time::Instant};

use engine_backend::BackendError;

use crate::simd::{Chosen, Cuts, Isa, Kernel, Simd, Team, Zeroed, choose, grid, run};

/// Limits of a number of threads together.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes read from main memory, a second.
    pub bytes: f64,
    /// Multiply-adds of bytes with data in registers, a second.
    pub products: f64,
}

/// Measures for about a second; `None` if the machine doesn't have `isa`.
///
/// # Errors
/// Out of memory.
pub fn limits(threads: usize, isa: Isa) -> Result<Option<Limits>, BackendError> {
    let Some(isa) = choose(isa) else { return Ok(None) };
    let team = Team::new(threads);
    Ok(Some(Limits { bytes: read(&team, isa)?, products: multiply(&team, isa) }))
}

/// The best of several rates.
fn best(amount: f64, mut f: impl FnMut()) -> f64 {
    let rate = |_| {
        let start = Instant::now();
        f();
        amount / start.elapsed().as_secs_f64()
    };
    (0..16).map(rate).fold(0.0, f64::max)
}

fn read(team: &Team, isa: Chosen) -> Result<f64, BackendError> {
    const WIDTH: usize = 1 << 14;
    const ROWS: usize = 1 << 14;
    let mut memory = Zeroed::<[u8; 64]>::new(WIDTH / 64 * ROWS)?;
    memory.iter_mut().for_each(|line| line[0] = 1);
    let rows = Cuts::Every { step: 16, total: ROWS };
    let all = Cuts::Every { step: WIDTH / 64, total: WIDTH / 64 };
    Ok(best((WIDTH * ROWS) as f64, || {
        grid(team, &mut memory, WIDTH / 64, rows, all, &|mut rect, _| {
            for i in 0..rect.rows() {
                run(isa, Read(rect.line(i)));
            }
        });
    }))
}

struct Read<'a>(&'a [[u8; 64]]);

impl Kernel for Read<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        let mut sums = [s.load_bytes(&[0; 64]); 4];
        for lines in self.0.as_chunks::<4>().0 {
            for (sum, line) in sums.iter_mut().zip(lines) {
                *sum = s.or(*sum, s.load_bytes(line));
            }
        }
        black_box(sums);
    }
}

fn multiply(team: &Team, isa: Chosen) -> f64 {
    const TASKS: usize = 64;
    let mut out = [0_u8; TASKS];
    let all = Cuts::Every { step: 1, total: TASKS };
    let one = Cuts::Every { step: 1, total: 1 };
    best((TASKS * Multiply::ROUNDS * Multiply::CHAINS * 64) as f64, || {
        grid(team, &mut out, 1, all, one, &|_, _| run(isa, Multiply));
    })
}

struct Multiply;

impl Multiply {
    const CHAINS: usize = 12;
    const ROUNDS: usize = 100_000;
}

impl Kernel for Multiply {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(self, s: S) {
        let codes = s.load_bytes(&black_box([1; 64]));
        let x = black_box([1; 4]);
        let mut sums = [s.splat_i32(0); Self::CHAINS];
        for _ in 0..Self::ROUNDS {
            for sum in &mut sums {
                *sum = s.dot(*sum, codes, &x);
            }
        }
        black_box(sums);
    }
}
