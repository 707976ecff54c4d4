//! Root-mean-square norms (Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019).
#![expect(unsafe_code, reason = "launches kernels")]

use crate::OpenError;
use crate::buffer::{Buffer, Element, Vector};
use crate::experts::ExpertSum;
use crate::job::slices;
use crate::module::{Function, Modules};
use crate::queue::{Grid, Queue};

/// The kernels.
pub(crate) struct Norms {
    norm: Function,
    alone: Function,
    /// For each of [`MANY_WIDTHS`].
    many: [Function; 2],
}

/// Rows that keep the device busy with few threads each.
const MANY: usize = 256;
/// Most columns of what kernels of many rows take.
const MANY_WIDTHS: [usize; 2] = [2048, 4096];
/// Columns of a thread beside each other, of many rows.
const NEIGHBOURS: usize = 4;
/// Threads of a row, and of one of many.
const THREADS: usize = 512;
const MANY_THREADS: usize = THREADS / NEIGHBOURS;

#[derive(Clone, Copy)]
#[repr(C)]
struct Norm {
    x: u64,
    residual: u64,
    weight: u64,
    out: u64,
    places: u64,
    weights: u64,
    sums: u64,
    chosen: i32,
    eps: f32,
    width: i32,
    half: i32,
}

/// Rows that are to be normed, by whoever reads them; as in `kernels/device/norm.cuh`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Normed {
    x: u64,
    weight: u64,
    pub(crate) out: u64,
    eps: f32,
    rows: i32,
    width: i32,
}

/// Most rows whose norm is put off.
const NORMED_MAX: usize = 8;
/// Most rows that every reader norms for itself: it is quicker than waiting for one that does.
const SHARED_MAX: usize = 2;
/// Most columns of them.
const NORMED_WIDTH_MAX: usize = 4096;
/// Slices of a product whose blocks have the threads for a norm.
const NORMED_SLICES: usize = 8;

impl Normed {
    /// The norm of `x`, if it is worth while to put it off.
    pub(crate) fn put_off(
        x: &Buffer,
        (weight, eps): (&Vector, f32),
        out: &mut Buffer,
    ) -> Option<Self> {
        let (rows, width) = (x.rows(), x.width());
        let few = (1..=NORMED_MAX).contains(&rows) && width <= NORMED_WIDTH_MAX;
        if !few || slices(width) != NORMED_SLICES || x.element() != Element::F32 {
            return None;
        }
        assert_eq!(out.width(), width, "width of a norm");
        assert_eq!(weight.length(), width, "weight of a norm");
        out.begin(rows, Element::Bf16);
        let (x, weight, out) = (x.pointer(), weight.pointer(), out.pointer());
        Some(Self { x, weight, out, eps, rows: rows as i32, width: width as i32 })
    }

    /// Whether it is the norm of `x`.
    pub(crate) fn is_of(&self, x: &Buffer) -> bool {
        self.x == x.pointer()
    }

    /// Whether whoever reads `out` had better make it.
    pub(crate) fn is_for_readers(&self, out: &Buffer) -> bool {
        self.out == out.pointer()
            && self.rows as usize <= SHARED_MAX
            && slices(self.width as usize) == NORMED_SLICES
    }
}

impl Norms {
    /// A norm that was put off, by itself.
    pub(crate) fn norm(&self, queue: &Queue, normed: Normed) {
        let grid = Grid::new((normed.rows as usize, 1), THREADS);
        // SAFETY: all have as many rows as there are blocks, and are as wide.
        unsafe { queue.launch(self.alone, grid, &normed) };
    }

    pub(crate) fn load(modules: &Modules<'_>) -> Result<Self, OpenError> {
        Ok(Self {
            norm: modules.function("norm", "rms_norm")?,
            alone: modules.function("norm", "norm_alone")?,
            many: [
                modules.function("norm", "rms_norm_many_4")?,
                modules.function("norm", "rms_norm_many_8")?,
            ],
        })
    }

    /// The kernel for rows of this shape, which may be `sums` that are still to be made, and the
    /// threads of each.
    fn kernel(&self, rows: usize, width: usize, sums: bool) -> (Function, usize) {
        let fits = MANY_WIDTHS.iter().position(|most| width <= *most);
        match fits.filter(|_| !sums && rows >= MANY && width.is_multiple_of(NEIGHBOURS)) {
            Some(which) => (self.many[which], MANY_THREADS),
            None => (self.norm, THREADS),
        }
    }

    /// `residual += x`, if there is one, then `out` is its norm, or that of `x`. Where `x` is yet
    /// to become a `sum`, that is done on the way.
    pub(crate) fn launch(
        &self,
        queue: &Queue,
        (x, weight, eps): (&Buffer, &Vector, f32),
        (sum, residual): (Option<ExpertSum>, Option<&mut Buffer>),
        out: &mut Buffer,
    ) {
        let (rows, width) = (x.rows(), x.width());
        assert_eq!(out.width(), width, "width of a norm");
        assert_eq!(weight.length(), width, "weight of a norm");
        let residual = residual.map_or(0, |residual| {
            assert_eq!((residual.rows(), residual.width()), (rows, width), "a residual like x");
            residual.held_mut(Element::F32)
        });
        out.begin(rows, Element::Bf16);
        let params = Norm {
            x: sum.map_or_else(|| x.pointer(), |sum| sum.x),
            residual,
            weight: weight.pointer(),
            out: out.pointer(),
            places: sum.map_or(0, |sum| sum.places),
            weights: sum.map_or(0, |sum| sum.weights),
            sums: sum.map_or(0, |sum| sum.out),
            chosen: sum.map_or(0, |sum| sum.chosen),
            eps,
            width: width as i32,
            half: sum.map_or_else(|| i32::from(x.element() == Element::Bf16), |sum| sum.half),
        };
        let (kernel, threads) = self.kernel(rows, width, sum.is_some());
        // SAFETY: all have as many rows as there are blocks, and are as wide; a sum's places are
        // rows of its choices.
        unsafe { queue.launch(kernel, Grid::new((rows, 1), threads), &params) };
    }
}
