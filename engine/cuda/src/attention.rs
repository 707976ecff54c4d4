//! `out = softmax(q k^T * scale) v` over each position's own sequence, in the cache. Tiled caches
//! have kernels of their own, for lone positions and for spans; here are those for the others.
#![expect(unsafe_code, reason = "launches kernels")]

use std::f32::consts::LOG2_E;

use engine_backend::{AttentionShape, Heads};

use crate::buffer::{Buffer, Element};
use crate::cache::{Cache, DeviceShape};
use crate::lone::LoneKernels;
use crate::module::{Function, Modules};
use crate::queue::{Grid, Queue};
use crate::rope::Turning;
use crate::span::SpanKernels;
use crate::step::{QUERIES, Step};
use crate::{DeviceInfo, OpenError};

/// Sizes of heads that kernels are made for; others take the next larger one's.
const DIMS: [usize; 3] = [64, 128, 256];
/// Positions that are computed together.
pub(crate) const CHUNK: usize = 128;
/// Warps of a block: a lone position's take sixteen positions of a chunk each, a span's as many
/// queries.
const PIECE_WARPS: usize = CHUNK / 16;
const SPAN_WARPS: usize = 4;
/// Heads up to this size have keys and values in shared memory together.
const BOTH_MAX: usize = 128;
/// The major compute capability whose kernels read tiles.
const TILES_CAPABILITY: i32 = 9;

/// The kernels.
pub(crate) struct Attentions {
    /// For each of [`DIMS`].
    pieces: [Function; 3],
    spans: [Function; 3],
    /// Of tiled caches.
    tiled: Option<(LoneKernels, SpanKernels)>,
}

/// What all kernels are told.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Params {
    qkv: u64,
    cache: u64,
    blocks: u64,
    spans: u64,
    pieces: u64,
    out: u64,
    partial: u64,
    arrivals: u64,
    shape: DeviceShape,
    scale: f32,
    queries: i32,
    window: i32,
    head_tile: i32,
    span_count: i32,
}

impl Params {
    /// For the `head_tile`th of the tiles of query heads that share a head of keys and values.
    pub(crate) fn of_tile(&self, head_tile: usize) -> Self {
        Self { head_tile: head_tile as i32, ..*self }
    }
}

impl Attentions {
    pub(crate) fn load(modules: &Modules<'_>, info: &DeviceInfo) -> Result<Self, OpenError> {
        let all = |kind: &str| -> Result<[Function; 3], OpenError> {
            let of = |dim| modules.function("attention", &format!("attend_{kind}_{dim}"));
            let [a, b, c] = DIMS.map(of);
            Ok([a?, b?, c?])
        };
        let tiled = if info.capability.0 == TILES_CAPABILITY {
            Some((LoneKernels::load(modules, info)?, SpanKernels::load(modules)?))
        } else {
            None
        };
        Ok(Self { pieces: all("piece")?, spans: all("span")?, tiled })
    }

    /// Whether caches may be tiled.
    pub(crate) fn tiles(&self) -> bool {
        self.tiled.is_some()
    }

    /// The attention of a step. Over a tiled cache, with the rotation of its queries if there is
    /// one, and if all positions are lone, of its keys and values.
    pub(crate) fn launch(
        &self,
        queue: &Queue,
        (qkv, step, shape, cache): (&Buffer, &Step, AttentionShape, &Cache),
        turning: Option<&Turning>,
        out: &mut Buffer,
    ) {
        let heads = shape.heads;
        let cached = cache.shape();
        assert_eq!(qkv.width(), heads.qkv_width(), "width of fused projections");
        assert_eq!(out.width(), heads.out_width(), "width of attention");
        assert_eq!((cached.heads, cached.dim), (heads.keys_values, heads.dim), "heads of a cache");
        assert_eq!(qkv.rows(), step.counts().tokens, "a row for each token");
        out.begin(qkv.rows(), Element::Bf16);
        let params = Params {
            qkv: qkv.held(Element::F32),
            cache: cache.pointer(),
            blocks: step.blocks(),
            spans: step.spans(),
            pieces: step.pieces(),
            out: out.pointer(),
            partial: step.partial(),
            arrivals: step.arrivals(),
            shape: cache.device_shape(),
            scale: shape.scale * LOG2_E,
            queries: heads.queries as i32,
            window: shape.window.map_or(0, |window| i32::try_from(window.get()).unwrap_or(0)),
            head_tile: 0,
            span_count: step.lengths().len() as i32,
        };
        if let Some((lone, spans)) = self.tiled.as_ref().filter(|_| cache.tiled()) {
            spans.launch(queue, heads, step, (&params, turning));
            lone.launch(queue, heads, step, (&params, turning));
        } else {
            self.spans(queue, heads, step, &params);
            self.pieces(queue, heads, step, &params);
        }
    }

    /// Spans of several positions.
    fn spans(&self, queue: &Queue, heads: Heads, step: &Step, params: &Params) {
        let tiles = tiles(heads, step, SPAN_WARPS * 16);
        let (which, shared) = kind(heads.dim);
        let grid = Grid { blocks: (tiles, heads.keys_values, 1), threads: 32 * SPAN_WARPS, shared };
        // SAFETY: block tables cover the spans' positions, in a cache of these heads.
        unsafe { queue.launch(self.spans[which], grid, params) };
    }

    /// Positions alone in their span, piece by piece.
    fn pieces(&self, queue: &Queue, heads: Heads, step: &Step, params: &Params) {
        let pieces = step.counts().pieces;
        let (which, shared) = kind(heads.dim);
        for head_tile in 0..sharing(heads).div_ceil(QUERIES) {
            let params = params.of_tile(head_tile);
            let grid =
                Grid { blocks: (pieces, heads.keys_values, 1), threads: 32 * PIECE_WARPS, shared };
            // SAFETY: as for spans; every stretch that waits has a slot in the step's memory, which
            // was made for the largest cache.
            unsafe { queue.launch(self.pieces[which], grid, &params) };
        }
    }
}

/// Query heads that share a head of keys and values.
pub(crate) fn sharing(heads: Heads) -> usize {
    heads.queries / heads.keys_values
}

/// How many tiles of so many queries a step's spans make.
pub(crate) fn tiles(heads: Heads, step: &Step, queries: usize) -> usize {
    step.lengths().iter().map(|count| (count * sharing(heads)).div_ceil(queries)).sum()
}

/// Which kernel heads of this size take, and the bytes of its shared memory.
fn kind(dim: usize) -> (usize, usize) {
    let which = DIMS.iter().position(|most| dim <= *most);
    let which = which.unwrap_or_else(|| panic!("heads of {dim} are refused with their cache"));
    let tensors = if DIMS[which] <= BOTH_MAX { 2 } else { 1 };
    (which, tensors * CHUNK * (DIMS[which] + 8) * size_of::<u16>())
}
