//! `out = softmax(q k^T * scale) v` over each position's own sequence, in the cache.
#![expect(unsafe_code, reason = "launches kernels")]

use std::f32::consts::LOG2_E;

use engine_backend::{AttentionShape, Heads};

use crate::OpenError;
use crate::buffer::{Buffer, Element};
use crate::cache::Cache;
use crate::module::{Function, Modules};
use crate::queue::{Grid, Queue};
use crate::step::{CHUNK, QUERIES, Step};

/// Sizes of heads that kernels are made for; others take the next larger one's.
const DIMS: [usize; 3] = [64, 128, 256];
/// Warps of a block: a lone position's take sixteen positions of a chunk each, a span's as many
/// queries.
const PIECE_WARPS: usize = CHUNK / 16;
const SPAN_WARPS: usize = 4;
/// Heads up to this size have keys and values in shared memory together.
const BOTH_MAX: usize = 128;

/// The kernels, for each of [`DIMS`].
pub(crate) struct Attentions {
    pieces: [Function; 3],
    spans: [Function; 3],
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Params {
    qkv: u64,
    cache: u64,
    blocks: u64,
    spans: u64,
    pieces: u64,
    out: u64,
    partial: u64,
    arrivals: u64,
    scale: f32,
    queries: i32,
    keys: i32,
    dim: i32,
    block_size: i32,
    window: i32,
    head_tile: i32,
}

impl Attentions {
    pub(crate) fn load(modules: &Modules<'_>) -> Result<Self, OpenError> {
        let all = |kind: &str| -> Result<[Function; 3], OpenError> {
            let of = |dim| modules.function("attention", &format!("attend_{kind}_{dim}"));
            let [a, b, c] = DIMS.map(of);
            Ok([a?, b?, c?])
        };
        Ok(Self { pieces: all("piece")?, spans: all("span")? })
    }

    pub(crate) fn launch(
        &self,
        queue: &Queue,
        (qkv, step, shape, cache): (&Buffer, &Step, AttentionShape, &Cache),
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
            scale: shape.scale * LOG2_E,
            queries: heads.queries as i32,
            keys: heads.keys_values as i32,
            dim: heads.dim as i32,
            block_size: cached.block_size as i32,
            window: shape.window.map_or(0, |window| i32::try_from(window.get()).unwrap_or(0)),
            head_tile: 0,
        };
        self.spans(queue, heads, step, &params);
        self.pieces(queue, heads, step, &params);
    }

    /// Spans of several positions.
    fn spans(&self, queue: &Queue, heads: Heads, step: &Step, params: &Params) {
        let sharing = heads.queries / heads.keys_values;
        let tiles = |count: &usize| (count * sharing).div_ceil(SPAN_WARPS * QUERIES);
        let tiles = step.lengths().iter().map(tiles).sum();
        let (which, shared) = kind(heads.dim);
        let grid = Grid { blocks: (tiles, heads.keys_values, 1), threads: 32 * SPAN_WARPS, shared };
        // SAFETY: block tables cover the spans' positions, in a cache of these heads.
        unsafe { queue.launch(self.spans[which], grid, params) };
    }

    /// Positions alone in their span, chunk by chunk.
    fn pieces(&self, queue: &Queue, heads: Heads, step: &Step, params: &Params) {
        let sharing = heads.queries / heads.keys_values;
        let pieces = step.counts().pieces;
        let (which, shared) = kind(heads.dim);
        for head_tile in 0..sharing.div_ceil(QUERIES) {
            let params = Params { head_tile: head_tile as i32, ..*params };
            let grid =
                Grid { blocks: (pieces, heads.keys_values, 1), threads: 32 * PIECE_WARPS, shared };
            // SAFETY: as for spans; every piece has its room in the step's memory, which was made
            // for the largest cache.
            unsafe { queue.launch(self.pieces[which], grid, &params) };
        }
    }
}

/// Which kernel heads of this size take, and the bytes of its shared memory.
fn kind(dim: usize) -> (usize, usize) {
    let which = DIMS.iter().position(|most| dim <= *most);
    let which = which.unwrap_or_else(|| panic!("heads of {dim} are refused with their cache"));
    let tensors = if DIMS[which] <= BOTH_MAX { 2 } else { 1 };
    (which, tensors * CHUNK * (DIMS[which] + 8) * size_of::<u16>())
}
