//! Root-mean-square norms (Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019).
#![expect(unsafe_code, reason = "launches kernels")]

use crate::OpenError;
use crate::buffer::{Buffer, Element, Vector};
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
    eps: f32,
    width: i32,
    half: i32,
}

impl Norms {
    pub(crate) fn load(modules: &Modules<'_>) -> Result<Self, OpenError> {
        modules.function("norm", "rms_norm").map(Self)
    }

    /// `residual += x`, if there is one, then `out` is its norm, or that of `x`.
    pub(crate) fn launch(
        &self,
        queue: &Queue,
        (x, weight, eps): (&Buffer, &Vector, f32),
        residual: Option<&mut Buffer>,
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
            x: x.pointer(),
            residual,
            weight: weight.pointer(),
            out: out.pointer(),
            eps,
            width: width as i32,
            half: i32::from(x.element() == Element::Bf16),
        };
        // SAFETY: all have as many rows as there are blocks, and are as wide.
        unsafe { queue.launch(self.0, Grid::new((rows, 1), 512), &params) };
    }
}
