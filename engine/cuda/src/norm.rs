//! Root-mean-square norms (Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019).
#![expect(unsafe_code, reason = "launches kernels")]

use crate::OpenError;
use crate::buffer::{Buffer, Element, Vector};
use crate::experts::ExpertSum;
use crate::module::{Function, Modules};
use crate::queue::{Grid, Queue};

/// The kernel.
pub(crate) struct Norms(Function);

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

impl Norms {
    pub(crate) fn load(modules: &Modules<'_>) -> Result<Self, OpenError> {
        modules.function("norm", "rms_norm").map(Self)
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
            half: i32::from(x.element() == Element::Bf16),
        };
        // SAFETY: all have as many rows as there are blocks, and are as wide; a sum's places are
        // rows of its choices.
        unsafe { queue.launch(self.0, Grid::new((rows, 1), 512), &params) };
    }
}
