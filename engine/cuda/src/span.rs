//! Attention of spans over a tiled cache.
#![expect(unsafe_code, reason = "launches a kernel")]

use engine_backend::Heads;

use crate::OpenError;
use crate::attention::{CHUNK, Params, tiles};
use crate::module::{Function, Modules};
use crate::queue::{Grid, Queue};
use crate::rope::{TurnParams, Turning};
use crate::step::Step;

/// Queries of a block.
const TILE: usize = 128;
/// Two times four warps compute, and four copy.
const THREADS: usize = 12 * 32;
/// Chunks that a block holds.
const STAGES: usize = 2;
/// Bytes of a block's barriers, and more.
const BARRIERS: usize = 128;

/// The kernels, for heads of 64 and of 128 elements.
pub(crate) struct SpanKernels([Function; 2]);

#[derive(Clone, Copy)]
#[repr(C)]
struct SpanParams {
    attention: Params,
    turning: TurnParams,
    /// Whether queries are still to be turned.
    turns: i32,
}

impl SpanKernels {
    pub(crate) fn load(modules: &Modules<'_>) -> Result<Self, OpenError> {
        let of = |dim| modules.function("span", &format!("attend_tile_{dim}"));
        Ok(Self([of(64)?, of(128)?]))
    }

    /// With the rotation of queries, if there is one.
    pub(crate) fn launch(
        &self,
        queue: &Queue,
        heads: Heads,
        step: &Step,
        (params, turning): (&Params, Option<&Turning>),
    ) {
        let blocks = tiles(heads, step, TILE) * heads.keys_values;
        let row = heads.dim * size_of::<u16>();
        let sums = TILE * heads.dim * size_of::<f32>();
        let shared = TILE * row + STAGES * 2 * CHUNK * row + sums + BARRIERS;
        let grid = Grid { blocks: (blocks, 1, 1), threads: THREADS, shared };
        let params = SpanParams {
            attention: *params,
            turning: turning.map_or(TurnParams::NONE, |turning| turning.params),
            turns: i32::from(turning.is_some()),
        };
        // SAFETY: block tables cover the spans' positions, in a cache of these heads.
        unsafe { queue.launch(self.0[usize::from(heads.dim == 128)], grid, &params) };
    }
}
