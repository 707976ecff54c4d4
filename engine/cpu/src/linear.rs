//! Products with weights: the one kernel that every type of weights shares.

use crate::{
    activation::{Activations, Rows},
    buffer::{Buffer, Vector},
    format::Format,
    matrix::Matrix,
    simd::{Chosen, Cuts, Kernel, LANES, Rect, Simd, Team, grid},
};

/// Bytes of activations that a task passes over again and again: about a quarter of a core's own cache.
const ROWS_BYTES: usize = 256 << 10;

/// `out = x weight^T + bias`.
pub(crate) fn linear(
    team: &Team,
    isa: Chosen,
    activations: &mut Activations,
    (x, weight, bias): (&Buffer, &Matrix, Option<&Vector>),
    out: &mut Buffer,
) {
    assert_eq!(x.width(), weight.inputs(), "inputs of a product");
    assert_eq!(out.width(), weight.outputs(), "outputs of a product");
    let bias = bias.map(|bias| {
        assert_eq!(bias.values().len(), weight.outputs(), "outputs of a bias");
        bias.values()
    });
    let (rows, width) = (x.rows(), out.width());
    out.set_rows(rows);
    activations.fill(team, isa, x.values(), (rows, x.width()), weight.wanted());
    let activations = &*activations;
    // Codes, scale and sums of an input take one and a half bytes.
    let step = (ROWS_BYTES * 2 / 3 / x.width().max(1)).max(LANES) / LANES * LANES;
    let cuts = Cuts::Every { step, total: rows };
    grid(team, out.values_mut(), width, cuts, weight.strips(), &|rect, _| {
        weight.product(isa, activations, bias, rect);
    });
}

/// Some tiles against some rows.
pub(crate) struct Product<'a, F: Format> {
    /// The tiles, one after the other.
    pub(crate) blocks: &'a [F::Block],
    /// Blocks in a tile.
    pub(crate) across: usize,
    /// The units of the rows of `out`.
    pub(crate) x: Rows<'a, F::Unit>,
    /// For all columns, not only those of `out`.
    pub(crate) bias: Option<&'a [f32]>,
    /// Where the outputs go.
    pub(crate) out: Rect<'a, f32>,
}

impl<F: Format> Kernel for Product<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(mut self, s: S) {
        let rows = self.out.rows();
        for tile in 0..self.out.cols().div_ceil(LANES) {
            let mut row = 0;
            while row < rows {
                row += match (rows - row).min(S::ROWS) {
                    16.. => self.tile::<S, 16>(s, tile, row),
                    8.. => self.tile::<S, 8>(s, tile, row),
                    4.. => self.tile::<S, 4>(s, tile, row),
                    2.. => self.tile::<S, 2>(s, tile, row),
                    _ => self.tile::<S, 1>(s, tile, row),
                };
            }
        }
    }
}

impl<F: Format> Product<'_, F> {
    /// One tile against `R` rows; returns `R`.
    #[inline(always)]
    fn tile<S: Simd, const R: usize>(&mut self, s: S, tile: usize, row: usize) -> usize {
        let blocks = &self.blocks[tile * self.across..][..self.across];
        let x = self.x.skip(row);
        let mut sums = [s.zero(); R];
        for (i, block) in blocks.iter().enumerate() {
            F::accumulate::<S, R>(s, block, x.from(i * F::UNITS), &mut sums);
        }
        let (col, first) = (tile * LANES, self.out.col());
        let cols = LANES.min(self.out.cols() - col);
        let mut bias = [0.0; LANES];
        if let Some(values) = self.bias {
            bias[..cols].copy_from_slice(&values[first + col..][..cols]);
        }
        for (i, sum) in sums.into_iter().enumerate() {
            let mut lanes = [0.0; LANES];
            s.store(s.add(sum, s.load(&bias)), &mut lanes);
            self.out.line(row + i)[col..][..cols].copy_from_slice(&lanes[..cols]);
        }
        R
    }
}
