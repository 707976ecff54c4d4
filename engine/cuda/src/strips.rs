//! Products of experts of which each has a few choices, by warps that compute strips of sixteen
//! outputs on their own: see `kernels/device/strips.cuh`.
#![expect(unsafe_code, reason = "launches kernels")]

use engine_backend::{Activation, ExpertInput};

use crate::buffer::{Buffer, Element};
use crate::experts::{Experts, Product};
use crate::format::{Format, UNIT_OUTPUTS};
use crate::job::Instances;
use crate::module::Modules;
use crate::queue::{Grid, Queue};
use crate::route::Routes;
use crate::{DeviceInfo, OpenError, pipelined, skinny};

/// Strips of a warp where none belong together.
const EACH: usize = 2;
/// Warps of a block there.
const WARPS: usize = 8;
/// Most rows of each kernel, and the warps of its blocks where a gate's strips go with others.
const CUTS: [(usize, usize); 2] = [(16, 8), (32, 16)];
/// Choices of an expert, on average, from which on enough experts are chosen: blocks have many
/// outputs, and would be few.
const AVERAGE_MIN: usize = 4;

/// The kernels, for each of [`CUTS`].
pub(crate) struct Strips {
    gated: [Instances; 2],
    plain: [Instances; 2],
    shared_bytes: usize,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Gated {
    experts: Product,
    out: u64,
    gelu: i32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Plain {
    experts: Product,
    each: i32,
    early: i32,
}

impl Strips {
    pub(crate) fn load(modules: &Modules<'_>, info: &DeviceInfo) -> Result<Self, OpenError> {
        let both = |name: &str| -> Result<[Instances; 2], OpenError> {
            let of = |(rows, _)| Instances::load(modules, "strips", &format!("{name}_{rows}"));
            let [few, more] = CUTS.map(of);
            Ok([few?, more?])
        };
        let shared_bytes = info.shared_bytes;
        Ok(Self { gated: both("strips_gated")?, plain: both("strips")?, shared_bytes })
    }

    /// Whether products of the routes' tiles are fast: of weights that need no conversion, those of
    /// many rows are faster through shared memory.
    pub(crate) fn take(&self, weight: &Experts, routes: &Routes) -> bool {
        let most = CUTS[usize::from(is_lean(weight))].0;
        routes.shape().rows() <= most && Self::bytes(weight, routes) <= self.shared_bytes
    }

    /// The same, with a gate on the way. Where there are few choices, it is others that are fast.
    pub(crate) fn take_gated(&self, weight: &Experts, routes: &Routes) -> bool {
        let enough = routes.choices() >= AVERAGE_MIN * routes.router().experts
            && routes.positions() > skinny::ROWS_MAX;
        let many = routes.shape().rows() > skinny::ROWS_MAX || is_lean(weight) && enough;
        many && self.take(weight, routes) && pipelined::gates(&weight.parts)
    }

    /// Of a block. A tile has no more choices than there are positions.
    fn bytes(weight: &Experts, routes: &Routes) -> usize {
        routes.shape().rows().min(routes.positions()) * skinny::row_bytes(weight.inputs)
    }

    /// `out[c] = activation(gate(x[position of c])) * up(x[position of c])`.
    pub(crate) fn gated(
        &self,
        queue: &Queue,
        (x, weight): (&Buffer, &Experts),
        (routes, activation): (&Routes, Activation),
        out: &mut Buffer,
    ) {
        assert_eq!(2 * out.width(), weight.outputs, "width of gate and up");
        out.begin(routes.choices(), Element::Bf16);
        let part = &weight.parts[0];
        let params = Gated {
            experts: Product::new((x, ExpertInput::Positions), (weight, part), routes, 0),
            out: out.pointer(),
            gelu: i32::from(activation == Activation::Gelu),
        };
        let which = which(routes);
        let (_, warps) = CUTS[which];
        let blocks = (out.width() / UNIT_OUTPUTS).div_ceil(warps);
        let shared = Self::bytes(weight, routes);
        let grid = Grid { shared, ..Grid::new((blocks, routes.tiles_max()), 32 * warps) };
        // SAFETY: routes name experts that there are and rows that `x` and `out` have; the weight's
        // memory covers all experts' units.
        unsafe { queue.launch(self.gated[which].get(part.format), grid, &params) };
    }

    /// `out[c] = x[c] weight[expert of c]^T`. With `early`, the kernel before is [`Self::gated`] for
    /// the same routes, or another that only reads them once they are there.
    pub(crate) fn product(
        &self,
        queue: &Queue,
        (x, weight): (&Buffer, &Experts),
        (routes, early): (&Routes, bool),
        out: &mut Buffer,
    ) {
        assert_eq!(out.width(), weight.outputs, "outputs of a product");
        out.begin(routes.choices(), Element::F32);
        let shared = Self::bytes(weight, routes);
        let mut early = early;
        for part in &weight.parts {
            let to = out.pointer() + 4 * part.first as u64;
            let params = Plain {
                experts: Product::new((x, ExpertInput::Choices), (weight, part), routes, to),
                each: EACH as i32,
                early: i32::from(early),
            };
            early = false;
            let blocks = part.outputs.div_ceil(EACH * WARPS * UNIT_OUTPUTS);
            let grid = Grid { shared, ..Grid::new((blocks, routes.tiles_max()), 32 * WARPS) };
            // SAFETY: as above.
            unsafe { queue.launch(self.plain[which(routes)].get(part.format), grid, &params) };
        }
    }
}

/// The kernel for the routes' tiles, of [`CUTS`].
fn which(routes: &Routes) -> usize {
    usize::from(routes.shape().rows() > CUTS[0].0)
}

/// Whether all of a weight is kept in fewer bytes than it is multiplied in.
fn is_lean(weight: &Experts) -> bool {
    weight.parts.iter().all(|part| part.format != Format::Bf16)
}
