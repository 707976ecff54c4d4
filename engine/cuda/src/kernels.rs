//! The kernels of all operations, and which of several does a product.
#![expect(unsafe_code, reason = "launches a kernel")]

use engine_backend::{Activation, ExpertInput, StepLayout};

use crate::attention::Attentions;
use crate::buffer::{Buffer, Vector};
use crate::embed::Embeds;
use crate::experts::{ExpertKernels, Experts};
use crate::gated::Gates;
use crate::job::Shape;
use crate::linear::Linear;
use crate::matrix::Matrix;
use crate::mixture::Mixtures;
use crate::module::{Function, Modules};
use crate::norm::Norms;
use crate::pipelined::{self, Pipelined};
use crate::queue::{Grid, Queue};
use crate::ranks::RankKernels;
use crate::resident::Residents;
use crate::rope::Ropes;
use crate::route::{RouteKernels, Routes};
use crate::router::Routers;
use crate::sample::Samples;
use crate::sliced::Sliced;
use crate::step::{Part, Step};
use crate::strips::Strips;
use crate::tally::TallyKernels;
use crate::{DeviceInfo, OpenError};

/// The kernels of all operations.
pub(crate) struct Kernels {
    pub(crate) attentions: Attentions,
    pub(crate) embeds: Embeds,
    pub(crate) experts: ExpertKernels,
    pub(crate) gates: Gates,
    pub(crate) linear: Linear,
    pub(crate) mixtures: Mixtures,
    pub(crate) norms: Norms,
    /// Where the GPU is Hopper: products of more than a few rows.
    pub(crate) pipelined: Option<Pipelined>,
    pub(crate) ranks: RankKernels,
    pub(crate) residents: Residents,
    pub(crate) ropes: Ropes,
    pub(crate) routers: Routers,
    pub(crate) routes: RouteKernels,
    pub(crate) samples: Samples,
    sliced: Sliced,
    stage: Function,
    pub(crate) strips: Strips,
    pub(crate) tallies: TallyKernels,
}

/// A packed step, and where it goes.
#[derive(Clone, Copy)]
#[repr(C)]
struct Stage {
    packed: u64,
    seats: u64,
    tokens: Part,
    parts: [Part; 6],
}

impl Kernels {
    pub(crate) fn load(
        modules: &Modules<'_>,
        queue: &Queue,
        info: &DeviceInfo,
    ) -> Result<Self, OpenError> {
        Ok(Self {
            attentions: Attentions::load(modules, info)?,
            embeds: Embeds::load(modules)?,
            experts: ExpertKernels::load(modules, info)?,
            gates: Gates::load(modules)?,
            linear: Linear::load(modules, queue, info)?,
            mixtures: Mixtures::load(modules, info)?,
            norms: Norms::load(modules)?,
            pipelined: Pipelined::load(modules, info)?,
            ranks: RankKernels::load(modules)?,
            residents: Residents::load(modules, info)?,
            ropes: Ropes::load(modules)?,
            routers: Routers::load(modules, info)?,
            routes: RouteKernels::load(modules, info)?,
            samples: Samples::load(modules)?,
            sliced: Sliced::load(modules, info)?,
            stage: modules.function("stage", "stage")?,
            strips: Strips::load(modules, info)?,
            tallies: TallyKernels::load(modules)?,
        })
    }

    /// Brings a step's layout to where kernels read it.
    pub(crate) fn stage(&self, queue: &Queue, layout: &StepLayout, step: &mut Step) {
        const BLOCKS_MAX: usize = 64;
        let (packed, tokens, parts) = step.pack(queue, layout);
        queue.record(&step.slot().begin);
        let params = Stage { packed, seats: step.seats(), tokens, parts };
        let blocks = layout.tokens.len().div_ceil(256).clamp(1, BLOCKS_MAX);
        // SAFETY: the packing holds the parts, and the step's memory has room for each.
        unsafe { queue.launch(self.stage, Grid::new((blocks, 1), 256), &params) };
    }

    /// `out = x weight^T + bias`.
    pub(crate) fn product(
        &self,
        queue: &Queue,
        (x, weight, bias): (&Buffer, &Matrix, Option<&Vector>),
        out: &mut Buffer,
    ) {
        match &self.pipelined {
            _ if self.sliced.take(weight, x.rows()) => {
                self.sliced.launch(queue, (x, weight, bias), out);
            }
            Some(pipelined) if self.linear.tiles(x.rows(), weight.inputs) => {
                pipelined.linear(queue, (x, weight, bias), None, out);
            }
            _ => self.linear.launch(queue, (x, weight, bias), out),
        }
    }

    /// The same, with its gate on the way; false if nothing was done.
    pub(crate) fn gated_product(
        &self,
        queue: &Queue,
        (x, weight): (&Buffer, &Matrix),
        activation: Activation,
        out: &mut Buffer,
    ) -> bool {
        let tiles = self.linear.tiles(x.rows(), weight.inputs);
        match &self.pipelined {
            Some(pipelined) if tiles && pipelined::gates(&weight.parts) => {
                pipelined.linear(queue, (x, weight, None), Some(activation), out);
                true
            }
            _ => false,
        }
    }

    /// Products of choices with their experts' weights.
    pub(crate) fn expert_product(
        &self,
        queue: &Queue,
        (x, input): (&Buffer, ExpertInput),
        (weight, routes): (&Experts, &Routes),
        out: &mut Buffer,
    ) {
        match &self.pipelined {
            Some(pipelined) if routes.shape() != Shape::Skinny => {
                pipelined.experts(queue, (x, input), (weight, routes), (None, None), out);
            }
            _ => self.experts.product(queue, (x, input), (weight, routes), out),
        }
    }

    /// The same of positions, with their gate on the way; false if nothing was done. What is in
    /// `between` is lost.
    pub(crate) fn gated_experts(
        &self,
        queue: &Queue,
        (x, weight, routes, activation): (&Buffer, &Experts, &Routes, Activation),
        between: &Buffer,
        out: &mut Buffer,
    ) -> bool {
        let tiles = routes.shape() != Shape::Skinny;
        match &self.pipelined {
            Some(pipelined) if tiles && pipelined::gates(&weight.parts) => {
                let (x, how) = ((x, ExpertInput::Positions), (Some(activation), Some(between)));
                pipelined.experts(queue, x, (weight, routes), how, out);
                true
            }
            _ => false,
        }
    }
}
