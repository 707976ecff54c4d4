//! Rope and attention over the paged cache against plain arithmetic, and against themselves cut
//! another way.

mod reference;

use std::{num::NonZero, ops::Range};

use engine_backend::{
    AttentionShape, Backend, BackendError, CacheShape, DType, Heads, Rope, RopePairs, Span,
    StepLayout,
};
use engine_cpu::CpuBackend;
use half::f16;
use reference::{Random, assert_close, assert_same, backends, buffer, poisoned};

const SCALE: f32 = 0.3;

/// Sequences with projections of all their positions, in blocks that are scattered over the pool.
struct World {
    heads: Heads,
    rope: Rope,
    shape: CacheShape,
    window: Option<NonZero<usize>>,
    /// For each sequence its projections, before rope.
    sequences: Vec<Vec<f32>>,
    tables: Vec<Vec<u32>>,
}

impl World {
    fn new(seed: u64, heads: Heads, pairs: RopePairs, block_size: usize, lens: &[usize]) -> Self {
        let mut random = Random(seed);
        let sequences: Vec<_> =
            lens.iter().map(|len| random.floats(len * heads.qkv_width())).collect();
        let needed: usize = lens.iter().map(|len| len.div_ceil(block_size)).sum();
        let num_blocks = needed + 2;
        let mut free: Vec<u32> = (0..num_blocks as u32).collect();
        let mut take = || free.swap_remove(random.below(free.len()));
        let tables = lens
            .iter()
            .map(|len| (0..len.div_ceil(block_size)).map(|_| take()).collect())
            .collect();
        // All but the last pair turn where there are more than two.
        let turned = if heads.dim > 4 { heads.dim / 2 - 1 } else { heads.dim / 2 };
        let frequencies = (0..turned).map(|i| 0.7_f32.powi(i as i32)).collect();
        let rope = Rope { pairs, frequencies, magnitude: 1.25 };
        let (dtype, dim) = (DType::F16, heads.dim);
        let shape = CacheShape { dtype, num_blocks, block_size, heads: heads.keys_values, dim };
        Self { heads, rope, shape, window: None, sequences, tables }
    }

    /// The same, where a query sees `window` positions.
    fn within(mut self, window: usize) -> Self {
        self.window = NonZero::new(window);
        self
    }

    /// The same, with a cache of floats.
    fn exact(mut self) -> Self {
        self.shape.dtype = DType::F32;
        self
    }

    fn name(&self) -> String {
        format!("{:?} within {:?}", self.shape, self.window)
    }

    fn len(&self, sequence: usize) -> usize {
        self.sequences[sequence].len() / self.heads.qkv_width()
    }

    /// The layout and the projections of a step with these rows.
    fn step(&self, rows: &[(usize, Range<usize>)]) -> (StepLayout, Vec<f32>) {
        let (mut layout, mut qkv) = (StepLayout::default(), Vec::new());
        let width = self.heads.qkv_width();
        for (sequence, positions) in rows {
            let table = &self.tables[*sequence];
            let first = layout.tokens.len();
            for position in positions.clone() {
                let block = table[position / self.shape.block_size] as usize;
                layout.tokens.push(0);
                layout.positions.push(position as u32);
                layout.slots.push(
                    (block * self.shape.block_size + position % self.shape.block_size) as u32,
                );
            }
            let blocks = layout.blocks.len()..layout.blocks.len() + table.len();
            layout.blocks.extend(table);
            layout.spans.push(Span {
                tokens: first..layout.tokens.len(),
                start: positions.start,
                blocks,
            });
            qkv.extend(&self.sequences[*sequence][positions.start * width..positions.end * width]);
        }
        (layout, qkv)
    }

    /// Computes steps on a cache full of what is not a number; for each sequence its outputs.
    fn run(&self, backend: &mut CpuBackend, steps: &[Vec<(usize, Range<usize>)>]) -> Vec<Vec<f32>> {
        let mut cache = backend.cache(self.shape).expect("there is memory");
        let slots = self.shape.num_blocks * self.shape.block_size;
        let mut step = backend.step(64, slots, 1 << 12, 1).expect("there is memory");
        let layout = StepLayout {
            tokens: vec![0; slots],
            positions: vec![0; slots],
            slots: (0..slots as u32).collect(),
            ..StepLayout::default()
        };
        backend.stage(&layout, &mut step);
        let width = self.heads.qkv_width();
        let mut flawed = buffer(backend, &vec![f32::NAN; slots * width], width);
        backend.rope_and_store(&mut flawed, &step, self.heads, &self.rope, &mut cache);

        let mut outputs = vec![Vec::new(); self.sequences.len()];
        for rows in steps {
            let (layout, qkv) = self.step(rows);
            backend.stage(&layout, &mut step);
            let mut qkv = buffer(backend, &qkv, width);
            backend.rope_and_store(&mut qkv, &step, self.heads, &self.rope, &mut cache);
            let mut out = poisoned(backend, qkv.rows(), self.heads.out_width());
            let Self { heads, window, .. } = *self;
            let shape = AttentionShape { heads, scale: SCALE, window };
            backend.attend(&qkv, &step, shape, &cache, &mut out);
            for ((sequence, _), span) in rows.iter().zip(&layout.spans) {
                let width = self.heads.out_width();
                let out = &out.values()[span.tokens.start * width..span.tokens.end * width];
                outputs[*sequence].extend(out);
            }
        }
        outputs
    }

    /// All sequences whole, in one step.
    fn whole(&self) -> Vec<Vec<(usize, Range<usize>)>> {
        vec![(0..self.sequences.len()).map(|i| (i, 0..self.len(i))).collect()]
    }

    /// Attention in double precision.
    fn plain(&self, sequence: usize) -> Vec<f64> {
        let Heads { queries, keys_values, dim } = self.heads;
        let head = |position: usize, head: usize| -> Vec<f64> {
            let at = position * self.heads.qkv_width() + head * dim;
            let x: Vec<f64> =
                self.sequences[sequence][at..][..dim].iter().map(|x| f64::from(*x)).collect();
            if head < queries + keys_values { self.turned(&x, position) } else { x }
        };
        let halves = self.shape.dtype == DType::F16;
        let stored = |x: f64| if halves { f16::from_f64(x).to_f64() } else { x };
        let mut out = Vec::new();
        for position in 0..self.len(sequence) {
            for query in 0..queries {
                let shared = query / (queries / keys_values);
                let q = head(position, query);
                let score = |other: usize| {
                    let key = head(other, queries + shared);
                    let dot: f64 = q.iter().zip(key).map(|(q, k)| q * stored(k)).sum();
                    (dot * f64::from(SCALE)).exp()
                };
                let window = self.window.map_or(usize::MAX, NonZero::get);
                let start = (position + 1).saturating_sub(window);
                let scores: Vec<f64> = (start..=position).map(score).collect();
                let total: f64 = scores.iter().sum();
                let mut sum = vec![0.0; dim];
                for (other, score) in (start..).zip(&scores) {
                    let value = head(other, queries + keys_values + shared);
                    sum.iter_mut()
                        .zip(value)
                        .for_each(|(sum, v)| *sum += score * stored(v) / total);
                }
                out.extend(sum);
            }
        }
        out
    }

    fn turned(&self, x: &[f64], position: usize) -> Vec<f64> {
        let mut turned = x.to_vec();
        let pairs = self.rope.frequencies.len();
        for (i, frequency) in self.rope.frequencies.iter().enumerate() {
            let (a, b) = match self.rope.pairs {
                RopePairs::Halves => (i, i + pairs),
                RopePairs::Neighbours => (2 * i, 2 * i + 1),
            };
            let (sin, cos) = (position as f64 * f64::from(*frequency)).sin_cos();
            let magnitude = f64::from(self.rope.magnitude);
            turned[a] = (x[a] * cos - x[b] * sin) * magnitude;
            turned[b] = (x[b] * cos + x[a] * sin) * magnitude;
        }
        turned
    }
}

fn worlds() -> Vec<World> {
    let heads = |queries, keys_values, dim| Heads { queries, keys_values, dim };
    let nine = || World::new(21, heads(9, 3, 64), RopePairs::Neighbours, 16, &[70, 1, 17, 16]);
    let odd = || World::new(23, heads(8, 1, 24), RopePairs::Halves, 5, &[23, 40]);
    let large = || World::new(25, heads(2, 2, 16), RopePairs::Halves, 200, &[300, 3]);
    let long = || World::new(26, heads(20, 1, 4), RopePairs::Halves, 16, &[150]);
    vec![
        nine(),
        World::new(22, heads(4, 4, 32), RopePairs::Halves, 8, &[30, 9]),
        odd(),
        World::new(24, heads(14, 2, 8), RopePairs::Neighbours, 32, &[33, 5, 64]),
        large(),
        long(),
        // Windows of one position; below, at and above a block; a run; above all there is.
        nine().within(1),
        nine().within(16).exact(),
        odd().within(4),
        odd().within(13).exact(),
        large().within(7),
        large().within(128),
        large().within(131).exact(),
        large().within(1000),
        long().within(40),
        long().exact(),
    ]
}

#[test]
fn attention_is_that_of_plain_arithmetic_on_every_instruction_set() {
    for world in worlds() {
        let right: Vec<_> = (0..world.sequences.len()).map(|i| world.plain(i)).collect();
        let mut first: Option<Vec<Vec<f32>>> = None;
        for (name, mut backend) in backends() {
            let found = world.run(&mut backend, &world.whole());
            let first = first.get_or_insert_with(|| found.clone());
            for (i, found) in found.iter().enumerate() {
                let what = format!("{}, sequence {i}, {name}", world.name());
                // A stored half may be one off where rope in single precision rounds the other way.
                let halves = world.shape.dtype == DType::F16;
                assert_close(&what, found, &right[i], |_| if halves { 2e-3 } else { 1e-5 });
                assert_same(&what, found, &first[i]);
            }
        }
    }
}

#[test]
fn a_prompt_in_chunks_gives_the_same_bits_as_whole() {
    for world in worlds() {
        for (name, mut backend) in backends() {
            let whole = world.run(&mut backend, &world.whole());
            for chunk in [1, 7, 16, 50] {
                // Sequences in turn, so that steps mix decodes with prefills of others.
                let mut steps = Vec::new();
                for start in (0..400).step_by(chunk) {
                    let part = |i| (i, start.min(world.len(i))..world.len(i).min(start + chunk));
                    let rows: Vec<_> = (0..world.sequences.len())
                        .map(part)
                        .filter(|(_, positions)| !positions.is_empty())
                        .collect();
                    if !rows.is_empty() {
                        steps.push(rows);
                    }
                }
                let parts = world.run(&mut backend, &steps);
                for (i, (whole, parts)) in whole.iter().zip(&parts).enumerate() {
                    let what = format!("{} by {chunk}, sequence {i}, {name}", world.name());
                    assert_same(&what, whole, parts);
                }
            }
        }
    }
}

#[test]
fn a_sequence_alone_gives_the_same_bits_as_in_company() {
    for world in worlds() {
        for (name, mut backend) in backends() {
            let together = world.run(&mut backend, &world.whole());
            for (i, together) in together.iter().enumerate() {
                let alone = world.run(&mut backend, &[vec![(i, 0..world.len(i))]]);
                assert_same(&format!("{}, {name}", world.name()), together, &alone[i]);
            }
        }
    }
}

/// What lies before every window of a step is not read: it may be anything, even not a number.
#[test]
fn what_windows_hide_is_not_read() {
    let heads = Heads { queries: 4, keys_values: 2, dim: 16 };
    for window in [1, 5, 16, 33] {
        let mut world = World::new(27, heads, RopePairs::Halves, 16, &[200]).within(window);
        let width = heads.qkv_width();
        for (name, mut backend) in backends() {
            let step = |positions| vec![(0, positions)];
            let steps = [step(0..150), step(150..200)];
            let right = world.run(&mut backend, &steps);
            let hidden = 151_usize.saturating_sub(window) * width;
            let seen = world.sequences[0].clone();
            world.sequences[0][..hidden].fill(f32::NAN);
            let found = world.run(&mut backend, &steps);
            world.sequences[0] = seen;
            let of = |out: &[Vec<f32>]| out[0][150 * heads.out_width()..].to_vec();
            assert_same(&format!("{window}, {name}"), &of(&found), &of(&right));
        }
    }
}

#[test]
fn a_cache_of_another_type_is_refused() {
    let mut backend = CpuBackend::new(1);
    let shape = |dtype| CacheShape { dtype, num_blocks: 2, block_size: 16, heads: 1, dim: 8 };
    for dtype in [DType::Bf16, DType::Q8_0] {
        let refused = backend.cache(shape(dtype)).err();
        let supported = &[DType::F16, DType::F32];
        assert_eq!(refused, Some(BackendError::Unkept { dtype, supported }));
    }
    let bytes = |dtype| CpuBackend::cache_bytes(shape(dtype));
    assert_eq!(bytes(DType::F32), 2 * bytes(DType::F16));
}
