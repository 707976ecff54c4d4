//! Attention over the paged cache, exact, in one pass (Milakov and Gimelshein, "Online normalizer
//! calculation for softmax", 2018; Dao et al., "FlashAttention", 2022).
//!
//! Positions are taken in groups of sixteen and groups in runs of [`RUN`], counted from the
//! sequence's first position. So what a query sums up in which order depends on its position alone:
//! not on how its prompt was cut into chunks, and not on which other queries were computed with it.

use std::ops::Range;

use engine_backend::{Heads, Span};
use parking_lot::Mutex;

use crate::{
    buffer::Buffer,
    cache::{Cache, Layout},
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
    (qkv, step, heads, scale, cache): (&Buffer, &Step, Heads, f32, &Cache),
    out: &mut Buffer,
) {
    let shape = cache.layout().shape;
    let width = heads.out_width();
    assert_eq!(qkv.width(), heads.qkv_width(), "width of fused projections");
    assert_eq!(out.width(), width, "width of attention");
    assert_eq!((shape.heads, shape.dim), (heads.keys_values, heads.dim), "heads of a cache");
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
            halves: cache.halves(),
            layout: cache.layout(),
            head: out.col() / (sharing * heads.dim),
            blocks: &step.layout.blocks[span.blocks.clone()],
        };
        let first = span.start + out.row() - span.tokens.start;
        let tile = Tile { qkv, sharing, scale, context, first, room: &mut room, out };
        run(isa, tile);
    });
}

/// The keys and values of one head of one sequence.
#[derive(Clone, Copy)]
struct Context<'a> {
    halves: &'a [u16],
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

impl Context<'_> {
    /// How many groups hold the positions below `limit`.
    fn groups(&self, limit: usize) -> usize {
        let size = self.layout.shape.block_size;
        limit / size * self.layout.groups + (limit % size).div_ceil(LANES)
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

/// Some positions of one sequence, for the query heads that share one head of keys and values.
struct Tile<'a> {
    qkv: &'a Buffer,
    /// Query heads that share a key head.
    sharing: usize,
    scale: f32,
    context: Context<'a>,
    /// The position of the first row.
    first: usize,
    room: &'a mut Room,
    out: Rect<'a, f32>,
}

impl Kernel for Tile<'_> {
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

impl Tile<'_> {
    /// Computes `R` queries from `query` on, and returns `R`. Queries are counted position by
    /// position.
    #[inline(always)]
    fn pass<S: Simd, const R: usize>(&mut self, s: S, query: usize) -> usize {
        self.take_queries::<R>(query);
        // Each query sees itself and everything before.
        let limits: [usize; R] =
            std::array::from_fn(|i| self.first + (query + i) / self.sharing + 1);
        let end = limits[R - 1];
        let mut running = Running::<S, R> { largest: [f32::NEG_INFINITY; R], sums: [s.zero(); R] };
        let mut scores = [[0.0; RUN * LANES]; R];
        let groups = self.context.groups(end);
        for start in (0..groups).step_by(RUN) {
            let mut run = [Group::default(); RUN];
            let run = &mut run[..RUN.min(groups - start)];
            for (i, group) in run.iter_mut().enumerate() {
                *group = self.context.group(start + i);
            }
            self.score(s, run, &limits, &mut scores);
            let factors = running.update(s, run.len(), &mut scores);
            self.add_values(s, run, end, &factors, &scores);
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
                to[i] = x * self.scale;
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
        limits: &[usize; R],
        scores: &mut Scores<R>,
    ) {
        let dim = self.context.layout.shape.dim;
        let queries = &self.room.queries.as_chunks::<R>().0[..dim];
        for (i, group) in run.iter().enumerate() {
            let keys = &self.context.halves[group.key..][..dim * LANES];
            let mut sums = [s.zero(); R];
            for (key, query) in keys.as_chunks::<LANES>().0.iter().zip(queries) {
                let key = s.load_f16(key);
                for (sum, query) in sums.iter_mut().zip(query) {
                    *sum = s.fma(key, s.splat(*query), *sum);
                }
            }
            for ((sum, limit), scores) in sums.iter().zip(limits).zip(scores.iter_mut()) {
                let seen = group.len.min(limit.saturating_sub(group.first));
                let seen = s.first(seen, *sum, s.splat(f32::NEG_INFINITY));
                s.store(seen, &mut scores.as_chunks_mut().0[i]);
            }
        }
    }

    /// Multiplies what was summed by the factors, then adds the values by their weights.
    #[inline(always)]
    fn add_values<S: Simd, const R: usize>(
        &mut self,
        s: S,
        run: &[Group],
        end: usize,
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
                // What lies behind the last position may be anything, even not a number.
                let len = group.len.min(end.saturating_sub(group.first));
                let values = &self.context.halves[group.value..][..len * size];
                for (lane, value) in values.chunks_exact(size).enumerate() {
                    let value = value[part..].first_chunk().expect("values are whole vectors");
                    let value = s.load_f16(value);
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
            let factor = exp(s, s.splat(self.largest[i] - largest));
            let mut sum = s.mul(self.sums[i], factor);
            for score in scores {
                let weight = exp(s, s.sub(s.load(score), s.splat(largest)));
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
