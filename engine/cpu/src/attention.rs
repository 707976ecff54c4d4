//! Attention over the paged cache, exact, in one pass (Milakov and Gimelshein, "Online normalizer
//! calculation for softmax", 2018; Dao et al., "FlashAttention", 2022).
//!
//! Positions are taken in groups of sixteen and groups in runs of [`RUN`], counted from the
//! sequence's first position. So what a query sums up in which order depends on its position alone:
//! not on how its prompt was cut into chunks, and not on which other queries were computed with it.
//! What a window hides from a query but not from another weighs nothing, and groups that it hides
//! from all are passed over.

use std::{num::NonZero, ops::Range};

use engine_backend::{AttentionShape, Span};
use parking_lot::Mutex;

use crate::{
    buffer::Buffer,
    cache::{Cache, Elements, Kept, Layout},
    exp::exp,
    simd::{Chosen, Cuts, Kernel, LANES, Rect, Simd, Team, grid, run},
    step::Step,
};

/// Groups of positions between two updates of the running maximum.
const RUN: usize = 8;
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

/// The keys and values of one head of one sequence.
struct Context<'a, K> {
    elements: &'a [K],
    layout: Layout,
    head: usize,
    blocks: &'a [u32],
}

/// A group of positions.
#[derive(Clone, Copy, Default)]
struct Group {
    /// Where its keys start.
    key: usize,
    /// Where its values start.
    value: usize,
    /// Its first position.
    first: usize,
    /// How many positions it has.
    len: usize,
}

impl<K> Context<'_, K> {
    /// How many groups hold the positions below `limit`.
    fn groups(&self, limit: usize) -> usize {
        let size = self.layout.shape.block_size;
        limit / size * self.layout.groups + (limit % size).div_ceil(LANES)
    }

    /// The group that holds a position.
    fn group_of(&self, position: usize) -> usize {
        let size = self.layout.shape.block_size;
        position / size * self.layout.groups + position % size / LANES
    }

    fn group(&self, i: usize) -> Group {
        let Layout { shape, groups, .. } = self.layout;
        let (block, group) = (i / groups, i % groups);
        let slot = self.blocks[block] as usize;
        Group {
            key: self.layout.key(slot, self.head, group),
            value: self.layout.value(slot, self.head, group),
            first: block * shape.block_size + group * LANES,
            len: LANES.min(shape.block_size - group * LANES),
        }
    }
}

impl Group {
    /// Which of its positions are in `seen`.
    #[inline(always)]
    fn lanes(&self, seen: Range<usize>) -> Range<usize> {
        let place = |position: usize| self.len.min(position.saturating_sub(self.first));
        place(seen.start)..place(seen.end)
    }
}

/// Some positions of one sequence, for the query heads that share one head of keys and values.
struct Tile<'a, K> {
    qkv: &'a Buffer,
    /// Query heads that share a key head.
    sharing: usize,
    shape: AttentionShape,
    context: Context<'a, K>,
    /// The position of the first row.
    first: usize,
    room: &'a mut Room,
    out: Rect<'a, f32>,
}

impl<K: Kept> Kernel for Tile<'_, K> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(mut self, s: S) {
        let all = self.out.rows() * self.sharing;
        let mut query = 0;
        while query < all {
            query += match (all - query).min(S::ROWS) {
                16.. => self.pass::<S, 16>(s, query),
                12.. => self.pass::<S, 12>(s, query),
                8.. => self.pass::<S, 8>(s, query),
                6.. => self.pass::<S, 6>(s, query),
                4.. => self.pass::<S, 4>(s, query),
                3 => self.pass::<S, 3>(s, query),
                2 => self.pass::<S, 2>(s, query),
                _ => self.pass::<S, 1>(s, query),
            };
        }
    }
}

/// Of `R` queries: the largest score yet, and each lane's sum of exponentials relative to it.
struct Running<S: Simd, const R: usize> {
    largest: [f32; R],
    sums: [S::F; R],
}

/// Of `R` queries: scores of a run of positions, then their exponentials.
type Scores<const R: usize> = [[f32; RUN * LANES]; R];

/// Which positions each of `R` queries sees.
struct Seen<const R: usize> {
    /// The first.
    starts: [usize; R],
    /// The one after the last, which is the query's own.
    ends: [usize; R],
}

impl<const R: usize> Seen<R> {
    /// Of queries at these positions, with no window or one.
    #[inline(always)]
    fn new(positions: [usize; R], window: Option<NonZero<usize>>) -> Self {
        let window = window.map_or(usize::MAX, NonZero::get);
        let ends = positions.map(|position| position + 1);
        Self { starts: ends.map(|end| end.saturating_sub(window)), ends }
    }

    /// What at least one of them sees: later queries begin and end later.
    fn any(&self) -> Range<usize> {
        self.starts[0]..self.ends[R - 1]
    }
}

impl<K: Kept> Tile<'_, K> {
    /// Computes `R` queries from `query` on, and returns `R`. Queries are counted position by
    /// position.
    #[inline(always)]
    fn pass<S: Simd, const R: usize>(&mut self, s: S, query: usize) -> usize {
        self.take_queries::<R>(query);
        let position = |i| self.first + (query + i) / self.sharing;
        let seen = Seen::<R>::new(std::array::from_fn(position), self.shape.window);
        let mut running = Running::<S, R> { largest: [f32::NEG_INFINITY; R], sums: [s.zero(); R] };
        let mut scores = [[0.0; RUN * LANES]; R];
        let groups = self.context.groups(seen.any().end);
        let mut next = self.context.group_of(seen.any().start);
        while next < groups {
            // Runs begin where they would without a window, but for what nobody sees.
            let len = (RUN - next % RUN).min(groups - next);
            let mut run = [Group::default(); RUN];
            let run = &mut run[..len];
            for (i, group) in run.iter_mut().enumerate() {
                *group = self.context.group(next + i);
            }
            self.score(s, run, &seen, &mut scores);
            let factors = running.update(s, len, &mut scores);
            self.add_values(s, run, seen.any(), &factors, &scores);
            next += len;
        }
        let mut sums = [0.0; R];
        for (sum, lanes) in sums.iter_mut().zip(running.sums) {
            *sum = s.sum(lanes);
        }
        self.give_outputs(query, sums);
        R
    }

    /// Lays `R` queries out element by element, scaled; clears their sums.
    #[inline(always)]
    fn take_queries<const R: usize>(&mut self, query: usize) {
        let dim = self.context.layout.shape.dim;
        let width = self.qkv.width();
        for i in 0..R {
            let (position, head) = ((query + i) / self.sharing, (query + i) % self.sharing);
            let start = (self.out.row() + position) * width + self.out.col() + head * dim;
            let x = &self.qkv.values()[start..][..dim];
            for (x, to) in x.iter().zip(self.room.queries.chunks_exact_mut(R)) {
                to[i] = x * self.shape.scale;
            }
        }
        self.room.sums[..R * self.context.layout.value].fill(0.0);
    }

    /// Scores of a run of positions; minus infinity for those that a query doesn't see.
    #[inline(always)]
    fn score<S: Simd, const R: usize>(
        &self,
        s: S,
        run: &[Group],
        seen: &Seen<R>,
        scores: &mut Scores<R>,
    ) {
        let dim = self.context.layout.shape.dim;
        let queries = &self.room.queries.as_chunks::<R>().0[..dim];
        for (i, group) in run.iter().enumerate() {
            let keys = &self.context.elements[group.key..][..dim * LANES];
            let mut sums = [s.zero(); R];
            for (key, query) in keys.as_chunks::<LANES>().0.iter().zip(queries) {
                let key = K::load(s, key);
                for (sum, query) in sums.iter_mut().zip(query) {
                    *sum = s.fma(key, s.splat(*query), *sum);
                }
            }
            let hidden = s.splat(f32::NEG_INFINITY);
            for (query, (sum, scores)) in sums.iter().zip(scores.iter_mut()).enumerate() {
                let lanes = group.lanes(seen.starts[query]..seen.ends[query]);
                let score = s.first(lanes.start, hidden, s.first(lanes.end, *sum, hidden));
                s.store(score, &mut scores.as_chunks_mut().0[i]);
            }
        }
    }

    /// Multiplies what was summed by the factors, then adds the values by their weights.
    #[inline(always)]
    fn add_values<S: Simd, const R: usize>(
        &mut self,
        s: S,
        run: &[Group],
        seen: Range<usize>,
        factors: &[f32; R],
        weights: &Scores<R>,
    ) {
        let size = self.context.layout.value;
        // Part by part, so that the sums of all queries stay in registers.
        for part in (0..size).step_by(LANES) {
            let sums = self.room.sums[part * R..].as_chunks_mut::<LANES>().0;
            let sums = sums.first_chunk_mut::<R>().expect("room for all queries");
            let mut parts = [s.zero(); R];
            for ((part, sum), factor) in parts.iter_mut().zip(sums.iter()).zip(factors) {
                *part = s.mul(s.load(sum), s.splat(*factor));
            }
            for (i, group) in run.iter().enumerate() {
                // What nobody sees may be anything, even not a number.
                let lanes = group.lanes(seen.clone());
                let values =
                    &self.context.elements[group.value..][lanes.start * size..lanes.end * size];
                for (lane, value) in lanes.zip(values.chunks_exact(size)) {
                    let value = value[part..].first_chunk().expect("values are whole vectors");
                    let value = K::load(s, value);
                    for (part, weights) in parts.iter_mut().zip(weights) {
                        *part = s.fma(value, s.splat(weights[i * LANES + lane]), *part);
                    }
                }
            }
            for (part, sum) in parts.iter().zip(sums) {
                s.store(*part, sum);
            }
        }
    }

    #[inline(always)]
    fn give_outputs<const R: usize>(&mut self, query: usize, sums: [f32; R]) {
        let dim = self.context.layout.shape.dim;
        let parts = self.room.sums.as_chunks::<LANES>().0;
        for (i, sum) in sums.into_iter().enumerate() {
            let (position, head) = ((query + i) / self.sharing, (query + i) % self.sharing);
            let out = &mut self.out.line(position)[head * dim..][..dim];
            for (part, out) in out.chunks_mut(LANES).enumerate() {
                out.iter_mut().zip(&parts[part * R + i]).for_each(|(out, x)| *out = x / sum);
            }
        }
    }
}

impl<S: Simd, const R: usize> Running<S, R> {
    /// Turns a run's scores into exponentials; returns by what earlier sums are to be multiplied.
    #[inline(always)]
    fn update(&mut self, s: S, groups: usize, scores: &mut Scores<R>) -> [f32; R] {
        let mut factors = [0.0; R];
        for (i, scores) in scores.iter_mut().enumerate() {
            let scores = &mut scores.as_chunks_mut::<LANES>().0[..groups];
            let mut largest = s.splat(self.largest[i]);
            for score in scores.iter() {
                largest = s.max(largest, s.load(score));
            }
            let largest = s.largest(largest);
            // Where all is hidden yet the largest is minus infinity: relative to any number, what
            // is hidden weighs nothing.
            let base = largest.max(f32::MIN);
            let factor = exp(s, s.splat(self.largest[i] - base));
            let mut sum = s.mul(self.sums[i], factor);
            for score in scores {
                let weight = exp(s, s.sub(s.load(score), s.splat(base)));
                sum = s.add(sum, weight);
                s.store(weight, score);
            }
            (self.largest[i], self.sums[i]) = (largest, sum);
            let mut lanes = [0.0; LANES];
            s.store(factor, &mut lanes);
            factors[i] = lanes[0];
        }
        factors
    }
}
