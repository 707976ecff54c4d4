//! All kernels of the backend, loaded once.

use crate::absence::OpenError;
use crate::attention::Attentions;
use crate::device::DeviceInfo;
use crate::embed::Embeds;
use crate::experts::ExpertKernels;
use crate::gated::Gates;
use crate::linear::Linear;
use crate::module::{Function, Modules};
use crate::norm::Norms;
use crate::queue::Queue;
use crate::ranks::RankKernels;
use crate::rope::Ropes;
use crate::route::RouteKernels;
use crate::sample::Samples;
use crate::tally::TallyKernels;

/// The kernels, by what they do.
pub(crate) struct Kernels {
    pub(crate) attentions: Attentions,
    pub(crate) embeds: Embeds,
    pub(crate) experts: ExpertKernels,
    pub(crate) gates: Gates,
    pub(crate) linear: Linear,
    pub(crate) norms: Norms,
    pub(crate) ranks: RankKernels,
    pub(crate) ropes: Ropes,
    pub(crate) routes: RouteKernels,
    pub(crate) samples: Samples,
    pub(crate) stage: Function,
    pub(crate) tallies: TallyKernels,
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
            experts: ExpertKernels::load(modules)?,
            gates: Gates::load(modules)?,
            linear: Linear::load(modules, queue, info)?,
            norms: Norms::load(modules)?,
            ranks: RankKernels::load(modules)?,
            ropes: Ropes::load(modules)?,
            routes: RouteKernels::load(modules, info)?,
            samples: Samples::load(modules)?,
            stage: modules.function("stage", "stage")?,
            tallies: TallyKernels::load(modules)?,
        })
    }
}
