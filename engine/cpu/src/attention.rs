//! Attention over the paged cache, exact, in one pass (Milakov and Gimelshein, "Online normalizer
//! calculation for softmax", 2018; Dao et al., "FlashAttention", 2022).
//!
//! Positions are taken in groups of sixteen and groups in runs of [`tile::RUN`], counted from the
//! sequence's first position. So what a query sums up in which order depends on its position alone:
//! not on how its prompt was cut into chunks, and not on which other queries were computed with it.
//! What a window hides from a query but not from another weighs nothing, and groups that it hides
//! from all are passed over.

mod context;
mod tile;

use std::ops::Range;

use engine_backend::{AttentionShape, Span};
use parking_lot::Mutex;

use self::{context::Context, tile::Tile};
use crate::{
    buffer::Buffer,
    cache::{Cache, Elements, Kept, Layout},
    simd::{Chosen, Cuts, LANES, Team, grid, run},
    step::Step,
};

/// Queries that a task computes together, if a group of heads isn't larger: they share the loads of
/// keys and values.
const TOGETHER: usize = 12;
/// Most queries that a pass computes together.
const ROWS_MAX: usize = 16;

/// What attention keeps from step to step: nothing but memory.
pub(crate) struct Scratch {
    /// Where the rows are cut into tiles, and the span of each tile.
    cuts: Vec<usize>,
    spans: Vec<usize>,
    /// For each thread: the queries of a pass, element by element, and its sums.
    rooms: Vec<Mutex<Room>>,
}

#[derive(Default)]
struct Room {
    queries: Vec<f32>,
    sums: Vec<f32>,
}

impl Scratch {
    pub(crate) fn new(threads: usize) -> Self {
        let rooms = (0..threads).map(|_| Mutex::default()).collect();
        Self { cuts: Vec::new(), spans: Vec::new(), rooms }
    }

    /// Makes room for heads of `dim`.
    pub(crate) fn reserve(&mut self, dim: usize) {
        let size = ROWS_MAX * dim.next_multiple_of(LANES);
        for room in &mut self.rooms {
            let room = room.get_mut();
            if room.sums.len() < size {
                room.queries.resize(size, 0.0);
                room.sums.resize(size, 0.0);
            }
        }
    }

    /// Cuts each span into tiles of `step` positions.
    fn cut(&mut self, spans: &[Span], step: usize) {
        self.cuts.clear();
        self.spans.clear();
        self.cuts.push(0);
        for (i, span) in spans.iter().enumerate() {
            let Range { start, end } = span.tokens;
            assert_eq!(self.cuts.last(), Some(&start), "rows follow one another");
            for start in (start..end).step_by(step) {
                self.cuts.push(end.min(start + step));
                self.spans.push(i);
            }
        }
    }
}

/// `out = softmax(q k^T * scale) v`.
pub(crate) fn attend(
    team: &Team,
    isa: Chosen,
    scratch: &mut Scratch,
    (qkv, step, shape, cache): (&Buffer, &Step, AttentionShape, &Cache),
    out: &mut Buffer,
) {
    match cache.elements() {
        Elements::F16(x) => {
            attend_to(team, isa, scratch, (qkv, step, shape), (&**x, cache.layout()), out);
        }
        Elements::F32(x) => {
            attend_to(team, isa, scratch, (qkv, step, shape), (&**x, cache.layout()), out);
        }
    }
}

/// Attention to elements of some type.
fn attend_to<K: Kept>(
    team: &Team,
    isa: Chosen,
    scratch: &mut Scratch,
    (qkv, step, shape): (&Buffer, &Step, AttentionShape),
    (elements, layout): (&[K], Layout),
    out: &mut Buffer,
) {
    let heads = shape.heads;
    let width = heads.out_width();
    assert_eq!(qkv.width(), heads.qkv_width(), "width of fused projections");
    assert_eq!(out.width(), width, "width of attention");
    let kept = (layout.shape.heads, layout.shape.dim);
    assert_eq!(kept, (heads.keys_values, heads.dim), "heads of a cache");
    let sharing = heads.queries / heads.keys_values;
    scratch.cut(&step.layout.spans, (TOGETHER / sharing).max(1));
    assert_eq!(scratch.cuts.last(), Some(&qkv.rows()), "rows of all spans");
    out.set_rows(qkv.rows());
    let scratch = &*scratch;
    let cols = Cuts::Every { step: sharing * heads.dim, total: width };
    grid(team, out.values_mut(), width, Cuts::At(&scratch.cuts), cols, &|out, thread| {
        let tile = scratch.cuts.partition_point(|cut| *cut <= out.row()) - 1;
        let span = &step.layout.spans[scratch.spans[tile]];
        let mut room = scratch.rooms[thread].lock();
        let context = Context {
            elements,
            layout,
            head: out.col() / (sharing * heads.dim),
            blocks: &step.layout.blocks[span.blocks.clone()],
        };
        let first = span.start + out.row() - span.tokens.start;
        run(isa, Tile { qkv, sharing, shape, context, first, room: &mut room, out });
    });
}
