//! Products of experts of which each has a few choices, by warps that compute strips of sixteen
//! outputs on their own: see `kernels/device/strips.cuh`.
#![expect(unsafe_code, reason = "launches kernels")]

use engine_backend::{Activation, ExpertInput};

use crate::buffer::{Buffer, Element};
use crate::experts::{Experts, Gated, Product};
use crate::format::{Format, UNIT_OUTPUTS};
use crate::job::Instances;
use crate::module::Modules;
use crate::queue::{Grid, Queue};
use crate::route::Routes;
use crate::{DeviceInfo, OpenError, pipelined, skinny};

/// Warps of a block.
const WARPS: usize = 8;
/// Strips of a warp where none belong together.
const EACH: usize = 2;
/// Most rows.
const ROWS_MAX: usize = 16;
/// Choices of an expert, on average, from which on enough experts are chosen: blocks have many
/// outputs, and would be few.
const AVERAGE_MIN: usize = 4;

/// The kernels.
pub(crate) struct Strips {
    gated: Instances,
    plain: Instances,
    shared_bytes: usize,
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
        Ok(Self {
            gated: Instances::load(modules, "strips", "strips_gated")?,
            plain: Instances::load(modules, "strips", "strips")?,
            shared_bytes: info.shared_bytes,
        })
    }

    /// Whether there are kernels for the routes' tiles.
    pub(crate) fn take(&self, weight: &Experts, routes: &Routes) -> bool {
        routes.shape().rows() <= ROWS_MAX && Self::bytes(weight, routes) <= self.shared_bytes
    }

    /// The same, with a gate on the way. Where each expert has few choices, other kernels are
    /// faster: with few experts, and with weights that need no conversion.
    pub(crate) fn take_gated(&self, weight: &Experts, routes: &Routes) -> bool {
        let lean = weight.parts.iter().all(|part| part.format != Format::Bf16);
        let enough = routes.choices() >= AVERAGE_MIN * routes.router().experts
            && routes.positions() > skinny::ROWS_MAX;
        let many = routes.shape().rows() > skinny::ROWS_MAX || lean && enough;
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
        let part = &weight.parts[0];
        let params = Gated::begin((x, weight, part), (routes, activation), out);
        let blocks = (out.width() / UNIT_OUTPUTS).div_ceil(WARPS);
        let shared = Self::bytes(weight, routes);
        let grid = Grid { shared, ..Grid::new((blocks, routes.tiles_max()), 32 * WARPS) };
        // SAFETY: routes name experts that there are and rows that `x` and `out` have; the weight's
        // memory covers all experts' units.
        unsafe { queue.launch(self.gated.get(part.format), grid, &params) };
    }

    /// `out[c] = x[c] weight[expert of c]^T`. With `early`, the kernel before is [`Self::gated`]
    /// for the same routes, or another that only reads them once they are there.
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
            unsafe { queue.launch(self.plain.get(part.format), grid, &params) };
        }
    }
}
