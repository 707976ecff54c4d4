//! Products of more than a few rows on Hopper, whose operands come through a ring in shared memory:
//! see `kernels/device/pipelined.cuh`.
#![expect(unsafe_code, reason = "launches kernels")]

use engine_backend::{Activation, ExpertInput};

use crate::buffer::{Buffer, Element, Vector};
use crate::experts::{Experts, Product};
use crate::format::{Format, UNIT_INPUTS, UNIT_OUTPUTS};
use crate::job::Job;
use crate::matrix::{Matrix, Part};
use crate::module::{Function, Modules};
use crate::queue::{Grid, Queue};
use crate::route::Routes;
use crate::tensor::TensorMap;
use crate::{DeviceInfo, OpenError};

/// The compute capability whose matrix products these are.
const HOPPER: i32 = 9;
/// Outputs that four warps compute.
const GROUP_OUTPUTS: usize = 64;
/// Blocks of a cluster, a slice for each.
const CLUSTER: usize = 8;
/// Blocks of a cluster that compute the same rows of large tiles, and share what is brought.
const SHARERS: usize = 2;

/// How a kernel is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    /// Groups of four warps that multiply.
    groups: usize,
    /// Of a tile, at most.
    rows: usize,
    /// Of the ring.
    stages: usize,
    /// Blocks that a multiprocessor holds.
    each: usize,
}

const fn cut(rows: usize, stages: usize, each: usize) -> Cut {
    Cut { groups: 2, rows, stages, each }
}

const fn narrow(rows: usize, stages: usize, each: usize) -> Cut {
    Cut { groups: 1, rows, stages, each }
}

/// Of blocks that compute whole tiles.
const WHOLE: [Cut; 4] = [cut(16, 4, 2), cut(32, 4, 2), cut(64, 8, 1), MANY];
/// Of blocks that compute whole tiles of many rows, which come in boxes.
const BOXES: [Cut; 2] = [cut(128, 6, 1), MANY];
/// The largest of them, whose rows may come one by one too.
const MANY: Cut = cut(192, 5, 1);
/// Of blocks that compute whole tiles of half as many outputs.
const NARROW: [Cut; 3] = [narrow(16, 8, 2), narrow(32, 8, 2), narrow(128, 8, 1)];
/// Of clusters that share a tile.
const SHARED: [Cut; 4] = [cut(16, 4, 3), cut(32, 4, 2), cut(64, 4, 2), cut(128, 4, 1)];

/// Rows of a cluster that also routes them.
pub(crate) const ROUTED_ROWS: usize = SHARED[0].rows;
/// Most rows of a tile that come one by one, to a block that has no other tile.
const MOST_ALONE: usize = 64;

/// Rows that a block spreads.
const SPREAD: usize = 8;

/// Most rows at which a cluster does a tile faster than a block, even if it is one of many.
const FEW: usize = 32;
/// What a tile of so many rows, of many, costs beside others.
const COSTS: [(usize, usize); 4] = [(64, 40), (128, 50), (160, 60), (192, 65)];

/// A kernel's instances: for each cut, for every format.
struct Instances(Vec<(Cut, Vec<Function>)>);

/// The kernels.
pub(crate) struct Pipelined {
    whole: Instances,
    /// Where rows lie one after the other.
    boxes: Instances,
    narrow: Instances,
    shared: Instances,
    spread: Function,
    multiprocessors: usize,
}

/// What becomes of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
enum Gate {
    None,
    Silu,
    Gelu,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Params {
    product: Product,
    gate: Gate,
    /// Of a tile, at most.
    rows: i32,
    /// Whether what comes out is bf16.
    half: i32,
    /// The job's, for boxes.
    x: TensorMap,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Spread {
    x: u64,
    rows: u64,
    out: u64,
    count: i32,
    width: i32,
}

/// Whether a GPU has what these kernels need.
pub(crate) fn are_for(info: &DeviceInfo) -> bool {
    info.capability.0 == HOPPER
}

/// Blocks of clusters that score as many rows each and route them, as in `kernels/router_many.cu`.
pub(crate) fn router_grid(format: Format, rows: usize) -> Grid {
    SHARED[0].grid(format, CLUSTER * rows.div_ceil(ROUTED_ROWS))
}

/// Rows of the tiles for experts of which each has so many on average: most of them fill one.
pub(crate) fn expert_rows(average: usize) -> usize {
    let most = match average {
        0..=8 => 16,
        9..=20 => 32,
        21..=44 => 64,
        45..=96 => 128,
        _ => 192,
    };
    debug_assert!(WHOLE.iter().chain(&BOXES).any(|cut| cut.rows == most), "rows of a cut");
    most
}

impl Cut {
    const fn threads(self) -> usize {
        // Four warps for 64 outputs; one brings weights, and one or three bring rows.
        let gatherers = if self.rows > 32 { 3 } else { 1 };
        128 * self.groups + 32 * (1 + gatherers)
    }

    fn bytes(self, format: Format) -> usize {
        let strips = self.groups * GROUP_OUTPUTS / UNIT_OUTPUTS;
        let stage = 2 * self.rows * UNIT_INPUTS + strips * format.unit_bytes();
        // Swizzled rows begin at whole kilobytes.
        self.stages * stage.next_multiple_of(1024)
    }

    fn grid(self, format: Format, blocks: usize) -> Grid {
        let shared = self.bytes(format);
        Grid { shared, ..Grid::new((blocks, 1), self.threads()) }
    }
}

impl From<Option<Activation>> for Gate {
    fn from(activation: Option<Activation>) -> Self {
        match activation {
            None => Self::None,
            Some(Activation::Silu) => Self::Silu,
            Some(Activation::Gelu) => Self::Gelu,
        }
    }
}

impl Gate {
    /// Outputs that remain of so many.
    fn outputs(self, all: usize) -> usize {
        if self == Self::None { all } else { all / 2 }
    }

    fn element(self) -> Element {
        if self == Self::None { Element::F32 } else { Element::Bf16 }
    }
}

impl Instances {
    fn load(modules: &Modules<'_>, name: &str, cuts: &[Cut]) -> Result<Self, OpenError> {
        let of = |&cut: &Cut| -> Result<_, OpenError> {
            let name = |format: Format| format!("{name}_{}_{}", cut.rows, format.name());
            let load = |format| modules.function("pipelined", &name(format));
            Ok((cut, Format::ALL.into_iter().map(load).collect::<Result<_, _>>()?))
        };
        Ok(Self(cuts.iter().map(of).collect::<Result<_, _>>()?))
    }

    fn get(&self, cut: Cut, format: Format) -> Function {
        let instance = self.0.iter().find(|(known, _)| *known == cut);
        instance.expect("all cuts are loaded").1[format as usize]
    }
}

/// Whether half of a part's outputs can gate the others on the way.
pub(crate) fn gates(parts: &[Part]) -> bool {
    matches!(parts, [part] if part.outputs.is_multiple_of(2 * UNIT_OUTPUTS))
}

impl Pipelined {
    /// Nothing where the GPU is another.
    pub(crate) fn load(
        modules: &Modules<'_>,
        info: &DeviceInfo,
    ) -> Result<Option<Self>, OpenError> {
        if !are_for(info) {
            return Ok(None);
        }
        Ok(Some(Self {
            whole: Instances::load(modules, "whole", &WHOLE)?,
            boxes: Instances::load(modules, "boxes", &BOXES)?,
            narrow: Instances::load(modules, "narrow", &NARROW)?,
            shared: Instances::load(modules, "shared", &SHARED)?,
            spread: modules.function("pipelined", "spread")?,
            multiprocessors: info.multiprocessors,
        }))
    }

    /// `out = x weight^T + bias`, or, with an activation, what its gate lets through.
    pub(crate) fn linear(
        &self,
        queue: &Queue,
        (x, weight, bias): (&Buffer, &Matrix, Option<&Vector>),
        activation: Option<Activation>,
        out: &mut Buffer,
    ) {
        let gate = Gate::from(activation);
        let width = gate.outputs(weight.outputs);
        assert_eq!(x.width(), weight.inputs, "inputs of a product");
        assert_eq!(out.width(), width, "outputs of a product");
        assert!(bias.is_none_or(|bias| bias.length() == width), "a bias for each output");
        out.begin(x.rows(), gate.element());
        for part in &weight.parts {
            let outputs = gate.outputs(part.outputs);
            let whole = Job::of_rows(part, (x, weight, bias), out);
            let job = Job { outputs: outputs as i32, width: width as i32, ..whole };
            let product = Product { job, tiles: 0, num_tiles: 0, expert_bytes: 0 };
            let plan = Plan::of(x.rows(), outputs, gate, self.multiprocessors);
            let tiles = plan.tiles(x.rows(), outputs, gate);
            let how = (gate, out.element());
            // SAFETY: `x` and `out` have a row for each of `count`, as wide as the weight, whose
            // memory covers its outputs' units.
            unsafe { self.launch(queue, (x.rows(), part.format), (product, how), plan, tiles) };
        }
    }

    /// Products of choices with their experts' weights, or, with an activation, what its gate lets
    /// through. With room for all choices' rows in `between`, they go there first where that pays.
    pub(crate) fn experts(
        &self,
        queue: &Queue,
        (x, input): (&Buffer, ExpertInput),
        (weight, routes): (&Experts, &Routes),
        (activation, between): (Option<Activation>, Option<&Buffer>),
        out: &mut Buffer,
    ) {
        let gate = Gate::from(activation);
        let width = gate.outputs(weight.outputs);
        assert_eq!(out.width(), width, "outputs of a product");
        // What experts give is summed as bf16; nothing else is lost by keeping it so.
        let element = if input == ExpertInput::Choices { Element::Bf16 } else { gate.element() };
        assert!(element == Element::F32 || width.is_multiple_of(8), "whole sixteens of bytes");
        out.begin(routes.choices(), element);
        let rows = routes.shape().rows();
        let cuts = WHOLE.into_iter().chain(BOXES).filter(|cut| cut.rows >= rows);
        let cut = cuts.min_by_key(|cut| cut.rows);
        let cut = cut.expect("routes are cut for these kernels");
        let plan = Plan { cut, how: How::Whole, rows };
        let bytes = 2 * routes.choices() * weight.inputs;
        let room = between.filter(|room| plan.is_large() && room.bytes() >= bytes);
        // Choices of experts that are elsewhere have no place.
        let all = routes.num_held() == routes.router().experts;
        let spread = room.filter(|_| input == ExpertInput::Positions && all);
        if let Some(room) = spread {
            self.spread(queue, x, routes, room);
        }
        for part in &weight.parts {
            let outputs = gate.outputs(part.outputs);
            let to = out.pointer() + (element.bytes() * part.first) as u64;
            let mut product = Product::new((x, input), (weight, part), routes, to);
            (product.job.outputs, product.job.width) = (outputs as i32, width as i32);
            if let Some(room) = spread {
                (product.job.x, product.job.rows) = (room.pointer(), 0);
            }
            let tiles = plan.across(outputs, gate) * routes.tiles_max();
            let (operands, how) = ((routes.choices(), part.format), (gate, element));
            // SAFETY: routes name experts that there are and rows that the operands have; the
            // weight's memory covers all experts' units.
            unsafe { self.launch(queue, operands, (product, how), plan, tiles) };
        }
    }

    /// The rows of all choices, one after the other.
    fn spread(&self, queue: &Queue, x: &Buffer, routes: &Routes, room: &Buffer) {
        let params = Spread {
            x: x.held(Element::Bf16),
            rows: routes.rows(),
            out: room.pointer(),
            count: routes.choices() as i32,
            // Inputs are whole sixteens of bytes.
            width: (x.width() / 8) as i32,
        };
        let grid = Grid::new((routes.choices().div_ceil(SPREAD), 1), 32 * SPREAD);
        // SAFETY: routes name rows that `x` has, and the room was weighed.
        unsafe { queue.launch(self.spread, grid, &params) };
    }

    /// # Safety
    /// The job's operands are there, and have the rows and units that it names.
    unsafe fn launch(
        &self,
        queue: &Queue,
        (x_rows, format): (usize, Format),
        (product, (gate, element)): (Product, (Gate, Element)),
        plan: Plan,
        tiles: usize,
    ) {
        let Plan { cut, how, rows } = plan;
        let boxed = cut.rows > MOST_ALONE && how != How::Shared && product.job.rows == 0;
        let cut = if plan.is_large() && !boxed { MANY } else { cut };
        let instances = match how {
            How::Whole if boxed => &self.boxes,
            How::Whole => &self.whole,
            How::Narrow => &self.narrow,
            How::Shared => &self.shared,
        };
        let map = if boxed {
            TensorMap::of(product.job.x, x_rows, product.job.inputs as usize)
        } else {
            Ok(TensorMap::NONE)
        };
        let x = match map {
            Ok(map) => map,
            Err(error) => return queue.faults().note(Err(error)),
        };
        let blocks = match cut {
            _ if how == How::Shared => CLUSTER * tiles,
            // A block goes from tile to tile.
            _ if plan.is_large() => tiles.min(self.multiprocessors).next_multiple_of(SHARERS),
            // Where tiles have few bytes, a block for each would spend its time with beginning.
            _ if product.tiles != 0 && cut.each > 1 && format != Format::Bf16 => {
                tiles.min(self.multiprocessors * cut.each)
            }
            _ => tiles,
        };
        let half = i32::from(element == Element::Bf16);
        let params = Params { product, gate, rows: rows as i32, half, x };
        // SAFETY: the caller's promise; a box's rows are those of the buffer.
        unsafe { queue.launch(instances.get(cut, format), cut.grid(format, blocks), &params) };
    }
}

/// Who computes a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// A block.
    Whole,
    /// A block, of half as many outputs.
    Narrow,
    /// A cluster, a slice for each block.
    Shared,
}

/// How rows that all meet a weight are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    cut: Cut,
    how: How,
    /// Of a tile.
    rows: usize,
}

impl Plan {
    /// For so many rows and outputs.
    fn of(rows: usize, outputs: usize, gate: Gate, multiprocessors: usize) -> Self {
        let fitting = |cuts: &[Cut], how| {
            let fits = cuts.iter().find(|cut| cut.rows >= rows);
            let cut = *fits.unwrap_or(&cuts[cuts.len() - 1]);
            Self { cut, how, rows: cut.rows }
        };
        let narrow = fitting(&NARROW, How::Narrow);
        let blocks = narrow.tiles(rows, outputs, gate);
        let enough = if rows <= 64 { multiprocessors / 2 } else { multiprocessors / 3 };
        if gate == Gate::None && (enough..=multiprocessors).contains(&blocks) {
            return narrow;
        }
        // Where these are too few, twice as many of half the rows; of few rows, that is not worth
        // reading a weight twice.
        let half = Self { rows: narrow.rows / 2, ..narrow };
        let blocks = half.tiles(rows, outputs, gate);
        if gate == Gate::None && rows > 64 && (enough..=multiprocessors).contains(&blocks) {
            return half;
        }
        let mut whole = fitting(&WHOLE, How::Whole);
        if whole.is_large() {
            whole.rows = many(rows, whole.across(outputs, gate), multiprocessors);
        }
        // A block for each tile needs many tiles, and a cluster for each needs few rows: each of
        // its blocks leaves as many sums as a block for the whole tile would.
        let enough = if rows <= FEW { multiprocessors } else { multiprocessors / 4 };
        if whole.tiles(rows, outputs, gate) >= enough {
            return whole;
        }
        fitting(&SHARED, How::Shared)
    }

    /// Whether blocks go from tile to tile, two beside each other.
    fn is_large(self) -> bool {
        self.how == How::Whole && self.cut.rows > MOST_ALONE
    }

    /// Blocks or clusters that lie across the outputs.
    fn across(self, outputs: usize, gate: Gate) -> usize {
        let all = self.cut.groups * GROUP_OUTPUTS;
        let blocks = outputs.div_ceil(if gate == Gate::None { all } else { all / 2 });
        if self.is_large() { blocks.next_multiple_of(SHARERS) } else { blocks }
    }

    fn tiles(self, rows: usize, outputs: usize, gate: Gate) -> usize {
        self.across(outputs, gate) * rows.div_ceil(self.rows)
    }
}

/// Rows of the tiles that are done first, where a multiprocessor does one after the other.
fn many(rows: usize, across: usize, multiprocessors: usize) -> usize {
    let turns = |of: usize| (across * rows.div_ceil(of)).div_ceil(multiprocessors);
    let best = COSTS.into_iter().min_by_key(|(of, cost)| turns(*of) * cost);
    best.expect("there are sizes").0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_whole_where_there_are_many_and_shared_where_there_are_few() {
        let of = |rows, outputs: usize| {
            let Plan { cut, how, rows } = Plan::of(rows, outputs, Gate::None, 132);
            assert!(rows <= cut.rows, "tiles of {rows} rows by {cut:?}");
            (how, rows)
        };
        assert_eq!(of(9, 5120), (How::Narrow, 16));
        assert_eq!(of(9, 2048), (How::Shared, 16));
        assert_eq!(of(9, 2560), (How::Shared, 16));
        assert_eq!(of(9, 151_936), (How::Whole, 16));
        assert_eq!(of(64, 5120), (How::Narrow, 128));
        assert_eq!(of(64, 2048), (How::Shared, 64));
        assert_eq!(of(128, 2048), (How::Narrow, 64));
        assert_eq!(of(256, 2048), (How::Narrow, 128));
        assert_eq!(of(256, 128), (How::Shared, 128));
        assert_eq!(of(2048, 5120), (How::Whole, 160));
    }

    #[test]
    fn blocks_have_the_shared_memory_that_there_is() {
        // Of a multiprocessor. A block takes a kilobyte besides, some for barriers, and 24 where
        // what a gate takes is passed on, and halves are on their way out.
        let all = 228 << 10;
        let cuts = WHOLE.into_iter().chain(BOXES).map(|cut| (cut, 26 << 10));
        let others = SHARED.into_iter().chain(NARROW).map(|cut| (cut, 2 << 10));
        for (cut, besides) in cuts.chain(others) {
            for format in Format::ALL {
                let bytes = cut.bytes(format) + besides;
                assert!(cut.each * bytes <= all, "{cut:?} in {format:?}");
            }
        }
    }
}
