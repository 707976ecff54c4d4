//! Products of up to sixteen rows, by blocks whose warps sum a slice of the inputs each: see
//! `kernels/device/sliced.cuh`.
#![expect(unsafe_code, reason = "launches kernels")]

use std::ops::RangeInclusive;

use crate::buffer::{Buffer, Vector};
use crate::format::UNIT_OUTPUTS;
use crate::job::{Instances, Job, begin, slices};
use crate::matrix::Matrix;
use crate::module::Modules;
use crate::queue::{Grid, Queue};
use crate::{DeviceInfo, OpenError, skinny};

/// Most rows.
const ROWS_MAX: usize = 16;
/// Elements of a weight, between which whole steps are quicker by it: those of Qwen3-30B-A3B's
/// attention. With less a block has too little to do, with more a ring streams better.
const ELEMENTS: RangeInclusive<usize> = 8 << 20..=12 << 20;
/// Strips of a block.
const TILES: [usize; 2] = [1, 2];

/// The kernels, for each of [`TILES`].
pub(crate) struct Sliced {
    kernels: [Instances; 2],
    multiprocessors: usize,
    shared_bytes: usize,
}

impl Sliced {
    pub(crate) fn load(modules: &Modules<'_>, info: &DeviceInfo) -> Result<Self, OpenError> {
        let of = |tiles| Instances::load(modules, "sliced", &format!("sliced_{tiles}"));
        let [one, two] = TILES.map(of);
        let DeviceInfo { multiprocessors, shared_bytes, .. } = *info;
        Ok(Self { kernels: [one?, two?], multiprocessors, shared_bytes })
    }

    /// Whether there is a kernel for so many rows, and it is the quickest.
    pub(crate) fn take(&self, weight: &Matrix, rows: usize) -> bool {
        (skinny::ROWS_MAX + 1..=ROWS_MAX).contains(&rows)
            && ELEMENTS.contains(&(weight.outputs * weight.inputs))
            && shared(weight.inputs, rows, TILES[1]) <= self.shared_bytes
    }

    /// `out = x weight^T + bias`.
    pub(crate) fn launch(
        &self,
        queue: &Queue,
        (x, weight, bias): (&Buffer, &Matrix, Option<&Vector>),
        out: &mut Buffer,
    ) {
        let inputs = weight.inputs;
        begin((x, weight, bias), out);
        for part in &weight.parts {
            let job = Job::of_rows(part, (x, weight, bias), out);
            let blocks = |tiles: usize| part.outputs.div_ceil(tiles * UNIT_OUTPUTS);
            // Two read rows for less, where there are enough for all multiprocessors.
            let which = usize::from(blocks(TILES[1]) >= self.multiprocessors);
            let tiles = TILES[which];
            let grid = Grid {
                shared: shared(inputs, x.rows(), tiles),
                ..Grid::new((blocks(tiles), 1), 32 * slices(inputs))
            };
            // SAFETY: `x` and `out` have a row for each of `count`, as wide as the weight, whose
            // memory covers its outputs' units.
            unsafe { queue.launch(self.kernels[which].get(part.format), grid, &job) };
        }
    }
}

/// Bytes of a block: the rows, and the sums of each warp, of which a row is some floats longer.
fn shared(inputs: usize, rows: usize, tiles: usize) -> usize {
    let pitch = tiles * UNIT_OUTPUTS + 4;
    rows * skinny::row_bytes(inputs) + slices(inputs) * ROWS_MAX * pitch * size_of::<f32>()
}
