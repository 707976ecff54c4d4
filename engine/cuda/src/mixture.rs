//! The experts of few positions: gate and up with the activation in one kernel, then down with the
//! sum of each position's experts.
#![expect(unsafe_code, reason = "launches kernels")]

use engine_backend::{Activation, ExpertInput};

use crate::buffer::{Buffer, Element};
use crate::experts::{Experts, Gated, Product};
use crate::format::UNIT_OUTPUTS;
use crate::job::{Instances, Shape, slices};
use crate::matrix::Part;
use crate::module::{Function, Modules};
use crate::queue::{Grid, Queue};
use crate::route::Routes;
use crate::{DeviceInfo, OpenError, skinny};

/// Most positions whose experts are summed where they are computed.
const POSITIONS_MAX: usize = 8;
/// Most warps of a block that sums.
const WARPS_MAX: usize = 16;
/// Fewer do not keep the memory busy.
const WARPS_MIN: usize = 4;
/// Most rows of a warp that sums.
const ROWS_MAX: usize = 4;
/// Bytes of shared memory that a block takes besides its own.
const SHARED_SPARE: usize = 1 << 10;

/// The kernels.
pub(crate) struct Mixtures {
    gated: Instances,
    sum: Instances,
    shared_bytes: usize,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Summed {
    experts: Product,
    places: u64,
    weights: u64,
    residual: u64,
    positions: i32,
    chosen: i32,
    rows: i32,
    rooms: i32,
    early: i32,
}

/// A sum that is put off until it is known what comes after.
pub(crate) struct Summing {
    kernel: Function,
    grid: Grid,
    params: Summed,
}

/// How a block that sums is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    warps: usize,
    /// That a warp has room for.
    rows: usize,
    /// For rows: one, or one for those that come next too.
    rooms: usize,
    shared: usize,
}

impl Mixtures {
    pub(crate) fn load(modules: &Modules<'_>, info: &DeviceInfo) -> Result<Self, OpenError> {
        Ok(Self {
            gated: Instances::load(modules, "mixture", "expert_gated")?,
            sum: Instances::load(modules, "mixture", "expert_sum")?,
            shared_bytes: info.shared_bytes,
        })
    }

    /// The part that [`Self::gated`] computes, if it can.
    pub(crate) fn gate_and_up<'a>(&self, weight: &'a Experts, routes: &Routes) -> Option<&'a Part> {
        let [part] = &weight.parts[..] else { return None };
        let fits = gated_bytes(weight.inputs, routes) <= self.shared_bytes;
        let whole = weight.outputs.is_multiple_of(2 * UNIT_OUTPUTS);
        let few = routes.shape() == Shape::Skinny && routes.positions() > 0;
        (few && fits && whole).then_some(part)
    }

    /// `out[c] = activation(gate(x[position of c])) * up(x[position of c])`.
    pub(crate) fn gated(
        &self,
        queue: &Queue,
        (x, weight, part): (&Buffer, &Experts, &Part),
        (routes, activation): (&Routes, Activation),
        out: &mut Buffer,
    ) {
        let params = Gated::begin((x, weight, part), (routes, activation), out);
        let blocks = (out.width() / UNIT_OUTPUTS, routes.tiles_max());
        let shared = gated_bytes(weight.inputs, routes);
        let grid = Grid { shared, ..Grid::new(blocks, 32 * slices(weight.inputs)) };
        // SAFETY: routes name experts that there are and rows that `x` and `out` have; the weight's
        // memory covers all experts' units.
        unsafe { queue.launch(self.gated.get(part.format), grid, &params) };
    }

    /// The part that [`Self::sum`] computes, and how, if it can.
    pub(crate) fn down<'a>(&self, weight: &'a Experts, routes: &Routes) -> Option<(&'a Part, Cut)> {
        let [part] = &weight.parts[..] else { return None };
        let few = (1..=POSITIONS_MAX).contains(&routes.positions());
        let few = few && routes.shape() == Shape::Skinny;
        let tile_bytes = part.format.bytes(UNIT_OUTPUTS, weight.inputs);
        let cut = || {
            Cut::of(
                (tile_bytes, skinny::row_bytes(weight.inputs)),
                (routes.tiles_max(), routes.positions(), routes.choices()),
                self.shared_bytes - SHARED_SPARE,
            )
        };
        few.then(cut).flatten().map(|cut| (part, cut))
    }

    /// `out[t] = sum of weight[c] * down(x[c])` over the choices of position `t`, to be launched.
    /// With `early`, the kernel before is [`Self::gated`] for the same routes.
    pub(crate) fn sum(
        &self,
        (x, weight, part): (&Buffer, &Experts, &Part),
        (routes, cut, early): (&Routes, Cut, bool),
        out: &mut Buffer,
    ) -> Summing {
        assert_eq!(out.width(), weight.outputs, "width of a sum of experts");
        out.begin(routes.positions(), Element::F32);
        let experts =
            Product::new((x, ExpertInput::Choices), (weight, part), routes, out.pointer());
        let params = Summed {
            experts,
            places: routes.places(),
            weights: routes.weights(),
            residual: 0,
            positions: routes.positions() as i32,
            chosen: routes.router().chosen as i32,
            rows: cut.rows as i32,
            rooms: cut.rooms as i32,
            early: i32::from(early),
        };
        let grid = Grid {
            shared: cut.shared,
            ..Grid::new((weight.outputs.div_ceil(UNIT_OUTPUTS), 1), 32 * cut.warps)
        };
        Summing { kernel: self.sum.get(part.format), grid, params }
    }
}

impl Summing {
    pub(crate) fn goes_to(&self, out: &Buffer) -> bool {
        self.params.experts.goes_to(out)
    }

    /// What comes out is added to `residual` too.
    pub(crate) fn add_to(&mut self, residual: &mut Buffer) {
        self.params.residual = residual.held_mut(Element::F32);
    }

    pub(crate) fn launch(&self, queue: &Queue) {
        // SAFETY: routes name experts that there are and rows that `x` has; `out` and a residual
        // have a row for each position; the weight's memory covers all experts' units.
        unsafe { queue.launch(self.kernel, self.grid, &self.params) };
    }
}

/// Bytes of a block that computes gate and up. A tile has no more choices than there are positions.
fn gated_bytes(inputs: usize, routes: &Routes) -> usize {
    skinny::streamed_bytes(inputs, routes.positions().min(skinny::ROWS_MAX), 2)
}

impl Cut {
    /// The one with as many warps as fit, if they are enough. An expert that more positions chose
    /// than there is room for is multiplied several times.
    fn of(
        (tile_bytes, row_bytes): (usize, usize),
        (tiles, positions, choices): (usize, usize, usize),
        shared_bytes: usize,
    ) -> Option<Self> {
        // Outputs of each choice, its weight and its place.
        let choices = choices * (UNIT_OUTPUTS + 2) * size_of::<f32>();
        let room = shared_bytes.checked_sub(choices)?;
        let cut = |(rows, rooms): (usize, usize)| {
            let each = tile_bytes + rooms * rows * row_bytes;
            let warps = (room / each).min(WARPS_MAX).min(tiles);
            Self { warps, rows, rooms, shared: warps * each + choices }
        };
        let rows = positions.clamp(1, ROWS_MAX);
        // If each warp has one tile at most, no rows come while others are multiplied.
        let cuts = [(rows, 1), (rows, 2), (1, 2)].map(cut);
        let enough = |cut: &&Self| match cut.rooms {
            1 => cut.warps == tiles,
            _ => cut.warps >= WARPS_MIN,
        };
        cuts.iter().find(enough).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_sum_have_the_warps_that_fit() {
        let cut = |tile, tiles, positions| {
            Cut::of((tile, 1552), (tiles, positions, 8 * positions), 226 << 10)
        };
        // Tiles of 768 inputs in bf16, then in four bits, then of 14,336 inputs in bf16.
        let Some(Cut { warps: 8, rows: 1, rooms: 1, .. }) = cut(24_576, 8, 1) else {
            panic!("one position")
        };
        let Some(Cut { warps: 6, rows: 4, shared, .. }) = cut(24_576, 72, 8) else {
            panic!("eight")
        };
        assert!(shared <= 226 << 10);
        let Some(Cut { warps: 11, rows: 4, .. }) = cut(7680, 72, 8) else { panic!("four bits") };
        assert_eq!(cut(458_752, 9, 1), None);
    }
}
