//! The kernel: some queries against all that they see.

use std::ops::Range;

use engine_backend::AttentionShape;

use super::{
    Room,
    context::{Context, Group, Seen},
};
use crate::{
    buffer::Buffer,
    cache::Kept,
    exp::exp,
    simd::{Kernel, LANES, Rect, Simd},
};

/// Groups of positions between two updates of the running maximum.
const RUN: usize = 8;

/// Some positions of one sequence, for the query heads that share one head of keys and values.
pub(super) struct Tile<'a, K> {
    pub(super) qkv: &'a Buffer,
    /// Query heads that share a key head.
    pub(super) sharing: usize,
    pub(super) shape: AttentionShape,
    pub(super) context: Context<'a, K>,
    /// The position of the first row.
    pub(super) first: usize,
    pub(super) room: &'a mut Room,
    pub(super) out: Rect<'a, f32>,
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
