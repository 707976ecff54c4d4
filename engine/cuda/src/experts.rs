//! Products of choices with their experts' weights, and the sum of a position's experts.
#![expect(unsafe_code, reason = "launches kernels")]

use engine_backend::{Activation, BackendError, ExpertInput, Tensor};

use crate::buffer::{Buffer, Element};
use crate::job::{Job, Products, slice};
use crate::matrix::{self, Part};
use crate::module::{Function, Modules};
use crate::pack::{Packer, Rounding};
use crate::queue::{Grid, Queue};
use crate::route::Routes;
use crate::{DeviceInfo, OpenError};

/// A linear weight of every expert of a layer.
pub struct Experts {
    pub(crate) parts: Vec<Part>,
    experts: usize,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
}

/// The kernels.
pub(crate) struct ExpertKernels {
    products: Products,
    combine: Function,
    add_gated: Function,
}

/// As in `kernels/device/experts.cuh`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Product {
    pub(crate) job: Job,
    pub(crate) tiles: u64,
    pub(crate) num_tiles: u64,
    pub(crate) expert_bytes: u64,
}

/// Gate and up of choices, with the activation.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Gated {
    experts: Product,
    out: u64,
    gelu: i32,
}

/// The sum of every position's experts, asked for and done on the way of what comes after, if that
/// norms it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct ExpertSum {
    pub(crate) x: u64,
    pub(crate) places: u64,
    pub(crate) weights: u64,
    pub(crate) out: u64,
    width: i32,
    pub(crate) chosen: i32,
    /// Whether `x` is bf16.
    pub(crate) half: i32,
    positions: i32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct AddGated {
    x: u64,
    gate: u64,
    out: u64,
    width: i32,
}

impl Experts {
    pub(crate) fn new(
        queue: &Queue,
        packer: &mut Packer,
        experts: &[Vec<Tensor<'_>>],
    ) -> Result<Self, BackendError> {
        let (parts, inputs) = matrix::parts(queue, packer, experts, Rounding::Allowed)?;
        let outputs = parts.iter().map(|part| part.outputs).sum();
        Ok(Self { parts, experts: experts.len(), outputs, inputs })
    }

    /// Number of experts.
    #[must_use]
    pub fn experts(&self) -> usize {
        self.experts
    }

    /// Bytes that the weights of all experts take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.memory.bytes()).sum()
    }
}

impl Gated {
    /// `out[c] = activation(gate(x[position of c])) * up(x[position of c])`, to be launched.
    pub(crate) fn begin(
        (x, weight, part): (&Buffer, &Experts, &Part),
        (routes, activation): (&Routes, Activation),
        out: &mut Buffer,
    ) -> Self {
        assert_eq!(2 * out.width(), weight.outputs, "width of gate and up");
        out.begin(routes.choices(), Element::Bf16);
        Self {
            experts: Product::new((x, ExpertInput::Positions), (weight, part), routes, 0),
            out: out.pointer(),
            gelu: i32::from(activation == Activation::Gelu),
        }
    }
}

impl ExpertKernels {
    pub(crate) fn load(modules: &Modules<'_>, info: &DeviceInfo) -> Result<Self, OpenError> {
        Ok(Self {
            products: Products::load(modules, "experts", info)?,
            combine: modules.function("experts", "combine")?,
            add_gated: modules.function("experts", "add_gated")?,
        })
    }

    /// `out[c] = x[c] weight[expert of c]^T`, or of `x[position of c]`.
    pub(crate) fn product(
        &self,
        queue: &Queue,
        (x, input): (&Buffer, ExpertInput),
        (weight, routes): (&Experts, &Routes),
        out: &mut Buffer,
    ) {
        assert_eq!(out.width(), weight.outputs, "outputs of a product");
        out.begin(routes.choices(), Element::F32);
        let shape = routes.shape();
        for part in &weight.parts {
            let to = out.pointer() + 4 * part.first as u64;
            let params = Product::new((x, input), (weight, part), routes, to);
            let mut grid = shape.grid(part.format, part.outputs, weight.inputs);
            grid.blocks.1 = routes.tiles_max();
            // SAFETY: routes name experts that there are and rows that `x` and `out` have; the
            // weight's memory covers all experts' units.
            unsafe { queue.launch(self.products.get(part.format, shape), grid, &params) };
        }
    }

    /// The sum by itself.
    pub(crate) fn combine(&self, queue: &Queue, sum: ExpertSum) {
        const COLS: usize = 256;
        let grid = Grid::new((sum.positions as usize, (sum.width as usize).div_ceil(COLS)), COLS);
        // SAFETY: routes place every choice at a row of `x`; `out` has a row for each position.
        unsafe { queue.launch(self.combine, grid, &sum) };
    }

    /// `out[t] += x[t] * sigmoid(gate[t])`.
    pub(crate) fn add_gated(&self, queue: &Queue, x: &Buffer, gate: &Buffer, out: &mut Buffer) {
        assert_eq!(gate.width(), 1, "width of a gate");
        assert_eq!(out.width(), x.width(), "width of a gated sum");
        assert_eq!((gate.rows(), out.rows()), (x.rows(), x.rows()), "rows of a gated sum");
        let params = AddGated {
            x: x.held(Element::F32),
            gate: gate.held(Element::F32),
            out: out.held_mut(Element::F32),
            width: x.width() as i32,
        };
        // SAFETY: all three have as many rows as there are blocks.
        unsafe { queue.launch(self.add_gated, Grid::new((x.rows(), 1), 256), &params) };
    }
}

impl Product {
    /// The choices' products with one part of the weight.
    pub(crate) fn new(
        (x, input): (&Buffer, ExpertInput),
        (weight, part): (&Experts, &Part),
        routes: &Routes,
        out: u64,
    ) -> Self {
        let Experts { experts, outputs, inputs, .. } = *weight;
        let (rows, expected) = match input {
            ExpertInput::Choices => (0, routes.choices()),
            ExpertInput::Positions => (routes.rows(), routes.positions()),
        };
        assert_eq!(x.rows(), expected, "rows of {input:?}");
        assert_eq!(x.width(), inputs, "inputs of a product");
        assert_eq!(experts, routes.num_held(), "experts of a router");
        let job = Job {
            weight: part.memory.at(0),
            x: x.held(Element::Bf16),
            rows,
            out,
            bias: 0,
            first: 0,
            count: 0,
            inputs: inputs as i32,
            outputs: part.outputs as i32,
            width: outputs as i32,
            slice: slice(inputs) as i32,
        };
        Self {
            job,
            tiles: routes.tiles(),
            num_tiles: routes.num_tiles(),
            expert_bytes: part.format.bytes(part.outputs, inputs) as u64,
        }
    }

    pub(crate) fn goes_to(&self, out: &Buffer) -> bool {
        self.job.out == out.pointer()
    }
}

impl ExpertSum {
    /// `out[t] = sum of weight[c] * x[c]` over the choices of position `t`.
    pub(crate) fn new(x: &Buffer, routes: &Routes, out: &mut Buffer) -> Self {
        assert_eq!(out.width(), x.width(), "width of a sum of experts");
        assert_eq!(x.rows(), routes.choices(), "a row for each choice");
        out.begin(routes.positions(), Element::F32);
        Self {
            x: x.pointer(),
            places: routes.places(),
            weights: routes.weights(),
            out: out.pointer(),
            width: x.width() as i32,
            chosen: routes.router().chosen as i32,
            half: i32::from(x.element() == Element::Bf16),
            positions: routes.positions() as i32,
        }
    }

    /// Whether it goes to this buffer.
    pub(crate) fn goes_to(&self, out: &Buffer) -> bool {
        self.out == out.pointer()
    }
}
