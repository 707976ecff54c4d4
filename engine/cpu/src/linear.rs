//! Products with weights: the one kernel that every type of weights shares.

use crate::{
    activation::{Activations, Rows, Wanted},
    buffer::{Buffer, Vector},
    format::{Decoded, Format},
    matrix::Matrix,
    simd::{Chosen, Cuts, Kernel, LANES, Rect, Simd, Team, grid},
};

/// Bytes of activations that a task passes over again and again: about a quarter of a core's own
/// cache.
const ROWS_BYTES: usize = 256 << 10;

/// Bytes between the weights in use and those called for.
const AHEAD: usize = 2048;

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
    let step = rows_each(weight.wanted(), x.width());
    let cuts = Cuts::Every { step, total: rows };
    grid(team, out.values_mut(), width, cuts, weight.strips(), &|rect, _| {
        weight.product(isa, activations, bias, rect);
    });
}

/// Rows of `width` inputs that a task passes over again and again, in whole vectors.
pub(crate) fn rows_each(wanted: Wanted, width: usize) -> usize {
    // Of an input, as a float or as a byte with its share of the scale and sums.
    let bytes = if wanted.floats { size_of::<f32>() } else { 2 };
    (ROWS_BYTES / bytes / width.max(1)).max(LANES) / LANES * LANES
}

/// Some tiles against some rows.
pub(crate) struct Product<'a, F: Format> {
    /// The tiles, one after the other.
    pub(crate) blocks: &'a [F::Block],
    /// Blocks in a tile.
    pub(crate) across: usize,
    /// The units of the rows of `out`.
    pub(crate) x: Rows<'a, F::Unit>,
    /// Units of what those leave of the inputs.
    pub(crate) rests: Option<Rows<'a, F::Unit>>,
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
                    16.. if F::MANY => self.tile::<S, 8, 2>(s, tile, row),
                    16.. => self.tile::<S, 4, 4>(s, tile, row),
                    8.. if F::MANY => self.tile::<S, 8, 1>(s, tile, row),
                    8.. => self.tile::<S, 4, 2>(s, tile, row),
                    4.. => self.tile::<S, 4, 1>(s, tile, row),
                    2.. => self.tile::<S, 2, 1>(s, tile, row),
                    _ => self.tile::<S, 1, 1>(s, tile, row),
                };
            }
        }
    }
}

impl<F: Format> Product<'_, F> {
    /// One tile against `TIMES` times `R` rows, once, twice or four times; returns how many those
    /// are.
    ///
    /// The compiler keeps loops over many rows loops, and their sums in memory; over four rows it
    /// unrolls them, and over eight if little is done in them.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const TIMES: usize>(
        &mut self,
        s: S,
        tile: usize,
        row: usize,
    ) -> usize {
        let start = tile * self.across;
        let blocks = &self.blocks[start..][..self.across];
        let (x, rests) = (self.x.skip(row), self.rests.map(|rests| rests.skip(row)));
        let mut sums = [[s.zero(); R]; TIMES];
        for (i, block) in blocks.iter().enumerate() {
            // Weights come from memory for the first rows, and are near for the others.
            if row == 0
                && let Some(ahead) = self.blocks.get(start + i + AHEAD / size_of::<F::Block>())
            {
                s.prefetch(ahead);
            }
            for unit in 0..F::UNITS {
                let (weights, at) = (F::decode(s, block, unit), i * F::UNITS + unit);
                add(s, &weights, (x, at), &mut sums);
                if let Some(rests) = rests {
                    add(s, &weights, (rests, at), &mut sums);
                }
            }
        }
        for (time, sums) in sums.into_iter().enumerate() {
            self.put_all(s, sums, tile, row + time * R);
        }
        R * TIMES
    }

    #[inline(always)]
    fn put_all<S: Simd, const R: usize>(&mut self, s: S, sums: [S::F; R], tile: usize, row: usize) {
        let bias = self.bias(s, tile);
        for (i, sum) in sums.into_iter().enumerate() {
            self.put(s, s.add(sum, bias), tile, row + i);
        }
    }

    #[inline(always)]
    fn bias<S: Simd>(&self, s: S, tile: usize) -> S::F {
        let (col, end) = (self.out.col() + tile * LANES, self.out.col() + self.out.cols());
        match self.bias {
            Some(bias) => load_start(s, &bias[col..end]),
            None => s.zero(),
        }
    }

    #[inline(always)]
    fn put<S: Simd>(&mut self, s: S, lanes: S::F, tile: usize, row: usize) {
        let out = &mut self.out.line(row)[tile * LANES..];
        if let Some(out) = out.first_chunk_mut() {
            s.store(lanes, out);
        } else {
            let mut all = [0.0; LANES];
            s.store(lanes, &mut all);
            out.copy_from_slice(&all[..out.len()]);
        }
    }
}

/// Adds the products of the `at`th unit with all rows of a tile.
#[inline(always)]
fn add<S: Simd, U: Copy, const R: usize, const TIMES: usize>(
    s: S,
    weights: &impl Decoded<S, U>,
    (x, at): (Rows<'_, U>, usize),
    sums: &mut [[S::F; R]; TIMES],
) {
    weights.add(s, x.at(at), &mut sums[0]);
    // Spelled out, for a loop would stay one.
    if TIMES > 1 {
        weights.add(s, x.skip(R).at(at), &mut sums[1]);
    }
    if TIMES > 2 {
        weights.add(s, x.skip(2 * R).at(at), &mut sums[2]);
        weights.add(s, x.skip(3 * R).at(at), &mut sums[3]);
    }
}

/// The first lanes of `x`, zeros where there are no more.
#[inline(always)]
fn load_start<S: Simd>(s: S, x: &[f32]) -> S::F {
    match x.first_chunk() {
        Some(x) => s.load(x),
        None => {
            let mut all = [0.0; LANES];
            all[..x.len()].copy_from_slice(x);
            s.load(&all)
        }
    }
}
