//! Root-mean-square norms (Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019).
#![expect(unsafe_code, reason = "launches kernels")]

use engine_backend::Heads;

use crate::OpenError;
use crate::buffer::{Buffer, Element, Vector};
use crate::module::{Function, Modules};
use crate::queue::{Grid, Queue};

/// The kernels.
pub(crate) struct Norms {
    rows: Function,
    heads: Function,
}

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

#[derive(Clone, Copy)]
#[repr(C)]
struct HeadNorm {
    qkv: u64,
    query: u64,
    key: u64,
    eps: f32,
    queries: i32,
    keys: i32,
    dim: i32,
}

impl Norms {
    pub(crate) fn load(modules: &Modules<'_>) -> Result<Self, OpenError> {
        Ok(Self {
            rows: modules.function("norm", "rms_norm")?,
            heads: modules.function("norm", "head_rms_norm")?,
        })
    }

    /// `residual += x`, if there is one, then `out` is its norm, or that of `x`.
    pub(crate) fn rows(
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
        unsafe { queue.launch(self.rows, Grid::new((rows, 1), 512), &params) };
    }

    /// Norms each query head by `query`, and each key head by `key`, in place.
    pub(crate) fn heads(
        &self,
        queue: &Queue,
        (heads, query, key, eps): (Heads, &Vector, &Vector, f32),
        qkv: &mut Buffer,
    ) {
        const HEADS_EACH: usize = 8;
        let Heads { queries, keys_values, dim } = heads;
        assert_eq!(qkv.width(), heads.qkv_width(), "width of fused projections");
        assert!(query.length() == dim && key.length() == dim, "weight of a head's norm");
        let params = HeadNorm {
            qkv: qkv.held_mut(Element::F32),
            query: query.pointer(),
            key: key.pointer(),
            eps,
            queries: queries as i32,
            keys: keys_values as i32,
            dim: dim as i32,
        };
        let blocks = (qkv.rows(), (queries + keys_values).div_ceil(HEADS_EACH));
        // SAFETY: rows are as wide as the heads say, and a weight as long as a head.
        unsafe { queue.launch(self.heads, Grid::new(blocks, 32 * HEADS_EACH), &params) };
    }
}
