//! Attention of lone positions over a tiled cache.
#![expect(unsafe_code, reason = "launches a kernel")]

use engine_backend::Heads;

use crate::attention::{CHUNK, Params, sharing};
use crate::module::{Function, Modules};
use crate::queue::{Grid, Queue};
use crate::rope::{TurnParams, Turning};
use crate::step::Step;
use crate::{DeviceInfo, OpenError};

/// Numbers of query heads that a block computes.
const QUERIES: [usize; 2] = [8, 16];
/// Four warps compute, and one copies.
const THREADS: usize = 5 * 32;
/// Most stages of a block.
const STAGES_MAX: usize = 12;
/// Shared memory of a block besides its stages, for each of [`QUERIES`], and what the device takes
/// of each block.
const ROOM: [usize; 2] = [17 << 10, 32 << 10];

/// The kernels, for heads of 64 and of 128 elements, each for [`QUERIES`].
pub(crate) struct LoneKernels {
    kernels: [[Function; 2]; 2],
    shared_bytes: usize,
    multiprocessors: usize,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct LoneParams {
    attention: Params,
    turning: TurnParams,
    /// Whether queries are still to be turned.
    turns: i32,
    /// Whether keys and values are still to be brought to the cache.
    brings: i32,
    stages: i32,
}

impl LoneKernels {
    pub(crate) fn load(modules: &Modules<'_>, info: &DeviceInfo) -> Result<Self, OpenError> {
        let of = |dim, queries| modules.function("lone", &format!("attend_lone_{dim}_{queries}"));
        let [few, many] = QUERIES;
        let kernels = [[of(64, few)?, of(64, many)?], [of(128, few)?, of(128, many)?]];
        let DeviceInfo { shared_bytes, multiprocessors, .. } = *info;
        Ok(Self { kernels, shared_bytes, multiprocessors })
    }

    /// With the rotation of queries, if there is one; of keys and values too, if all positions of
    /// the step are lone.
    pub(crate) fn launch(
        &self,
        queue: &Queue,
        heads: Heads,
        step: &Step,
        (params, turning): (&Params, Option<&Turning>),
    ) {
        let sharing = sharing(heads);
        let many = usize::from(sharing > QUERIES[0]);
        let blocks = step.counts().pieces * heads.keys_values;
        let stage = CHUNK / 2 * heads.dim * size_of::<u16>();
        let stages = self.stages(blocks, stage, ROOM[many]);
        for head_tile in 0..sharing.div_ceil(QUERIES[many]) {
            let params = LoneParams {
                attention: params.of_tile(head_tile),
                turning: turning.map_or(TurnParams::NONE, |turning| turning.params),
                turns: i32::from(turning.is_some()),
                brings: i32::from(turning.is_some() && step.is_lone()),
                stages: stages as i32,
            };
            let grid = Grid { blocks: (blocks, 1, 1), threads: THREADS, shared: stages * stage };
            let kernel = self.kernels[usize::from(heads.dim == 128)][many];
            // SAFETY: block tables cover the positions, in a cache of these heads; every stretch
            // that waits has a slot in the step's memory, which was made for the largest cache.
            unsafe { queue.launch(kernel, grid, &params) };
        }
    }

    /// As many as there is room for: in a block that has a multiprocessor for itself, or else in
    /// each of two.
    fn stages(&self, blocks: usize, stage: usize, room: usize) -> usize {
        let sharers = if blocks <= self.multiprocessors { 1 } else { 2 };
        ((self.shared_bytes / sharers - room) / stage).min(STAGES_MAX)
    }
}
