//! Root-mean-square norms (Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019).

use engine_backend::Heads;

use crate::{
    buffer::{Buffer, Vector},
    simd::{Chosen, Cuts, Kernel, LANES, Rect, Simd, Team, grid, run},
};

/// Rows of a task.
const ROWS_EACH: usize = 8;

/// `out = x / sqrt(mean(x^2) + eps) * weight`.
pub(crate) fn rms_norm(
    team: &Team,
    isa: Chosen,
    (x, weight, eps): (&Buffer, &Vector, f32),
    out: &mut Buffer,
) {
    let width = x.width();
    assert_eq!(out.width(), width, "width of a norm");
    assert_eq!(weight.values().len(), width, "weight of a norm");
    out.set_rows(x.rows());
    let rows = Cuts::Every { step: ROWS_EACH, total: x.rows() };
    let cols = Cuts::Every { step: width.max(1), total: width };
    grid(team, out.values_mut(), width, rows, cols, &|out, _| {
        run(isa, Norm { x: x.values(), weight: weight.values(), eps, out });
    });
}

/// Norms each query head by `query`, and each key head by `key`, in place.
pub(crate) fn head_rms_norm(
    team: &Team,
    isa: Chosen,
    (heads, query, key, eps): (Heads, &Vector, &Vector, f32),
    qkv: &mut Buffer,
) {
    let (rows, width) = (qkv.rows(), qkv.width());
    assert_eq!(width, heads.qkv_width(), "width of fused projections");
    for weight in [query, key] {
        assert_eq!(weight.values().len(), heads.dim, "weight of a head's norm");
    }
    let (query, key) = (query.values(), key.values());
    let rows = Cuts::Every { step: ROWS_EACH, total: rows };
    let cols = Cuts::Every { step: width.max(1), total: width };
    grid(team, qkv.values_mut(), width, rows, cols, &|qkv, _| {
        run(isa, HeadNorm { heads, query, key, eps, qkv });
    });
}

/// `residual += x`.
pub(crate) fn add(team: &Team, x: &Buffer, residual: &mut Buffer) {
    let width = x.width();
    assert_eq!(residual.width(), width, "width of a residual");
    assert_eq!(residual.rows(), x.rows(), "rows of a residual");
    let rows = Cuts::Every { step: ROWS_EACH, total: x.rows() };
    let cols = Cuts::Every { step: width.max(1), total: width };
    grid(team, residual.values_mut(), width, rows, cols, &|mut sum, _| {
        for i in 0..sum.rows() {
            let x = &x.values()[(sum.row() + i) * width..][..width];
            sum.line(i).iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
        }
    });
}

/// Norms some rows.
struct Norm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: Rect<'a, f32>,
}

impl Kernel for Norm<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(mut self, s: S) {
        let width = self.out.cols();
        for i in 0..self.out.rows() {
            let x = &self.x[(self.out.row() + i) * width..][..width];
            let scale = scale(s, x, self.eps);
            let out = self.out.line(i).iter_mut();
            for ((out, x), weight) in out.zip(x).zip(self.weight) {
                *out = x * scale * weight;
            }
        }
    }
}

/// Norms the heads of some rows.
struct HeadNorm<'a> {
    heads: Heads,
    query: &'a [f32],
    key: &'a [f32],
    eps: f32,
    qkv: Rect<'a, f32>,
}

impl Kernel for HeadNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(mut self, s: S) {
        let Heads { queries, keys_values, dim } = self.heads;
        for i in 0..self.qkv.rows() {
            let (query, rest) = self.qkv.line(i).split_at_mut(queries * dim);
            let key = &mut rest[..keys_values * dim];
            for (heads, weight) in [(query, self.query), (key, self.key)] {
                for head in heads.chunks_exact_mut(dim) {
                    let scale = scale(s, head, self.eps);
                    head.iter_mut().zip(weight).for_each(|(x, weight)| *x = *x * scale * weight);
                }
            }
        }
    }
}

/// The factor that gives `x` a mean square of one, but for `eps`.
#[inline(always)]
fn scale<S: Simd>(s: S, x: &[f32], eps: f32) -> f32 {
    1.0 / (sum_of_squares(s, x) / x.len() as f32 + eps).sqrt()
}

#[inline(always)]
fn sum_of_squares<S: Simd>(s: S, x: &[f32]) -> f32 {
    let (whole, rest) = x.as_chunks::<LANES>();
    let mut last = [0.0; LANES];
    last[..rest.len()].copy_from_slice(rest);
    let mut sum = s.zero();
    for x in whole.iter().chain([&last]) {
        let x = s.load(x);
        sum = s.fma(x, x, sum);
    }
    s.sum(sum)
}
