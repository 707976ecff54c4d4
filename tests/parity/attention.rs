//! Rotation, the cache, and attention over it.

use std::num::NonZero;

use engine_backend::{
    AttentionShape, Backend as _, CacheShape, DType, Heads, Rope, RopePairs, Span, StepLayout,
};

use crate::dice::Dice;
use crate::ends::{Ends, between, near, numbers};
use crate::gpu;
use crate::naive::{Naive, Rounding};

const BLOCK_SIZES: [usize; 3] = [16, 5, 64];

/// Sequences with all of their projections, and where their blocks are.
struct Case {
    shape: AttentionShape,
    rope: Rope,
    block_size: usize,
    num_blocks: usize,
    sequences: Vec<Sequence>,
    /// Weights of the norms of heads, of queries and of keys.
    norms: [Vec<f32>; 2],
}

struct Sequence {
    qkv: Vec<f32>,
    length: usize,
    blocks: Vec<u32>,
}

/// Which positions of which sequence a step computes.
type Row = (usize, std::ops::Range<usize>);

impl Case {
    fn new(shape: AttentionShape, pairs: RopePairs, lengths: &[usize], dice: &mut Dice) -> Self {
        let width = shape.heads.qkv_width();
        let sequence = |&length: &usize| Sequence {
            qkv: numbers(length * width, dice),
            length,
            blocks: Vec::new(),
        };
        let sequences = lengths.iter().map(sequence).collect();
        let rope = Rope { pairs, frequencies: Vec::new(), magnitude: 1.1 };
        let norms = [numbers(shape.heads.dim, dice), numbers(shape.heads.dim, dice)];
        let mut case = Self { shape, rope, block_size: 1, num_blocks: 0, sequences, norms };
        case.turn(shape.heads.dim / 2 / 2 * 2);
        case.share_out(BLOCK_SIZES[dice.below(3)], dice);
        case
    }

    /// So many elements of each head are turned.
    fn turn(&mut self, turned: usize) {
        let frequency = |pair: usize| 1e4_f32.powf(-2.0 * pair as f32 / turned as f32);
        self.rope.frequencies = (0..turned / 2).map(frequency).collect();
    }

    /// Gives sequences blocks of this size, in no order.
    fn share_out(&mut self, block_size: usize, dice: &mut Dice) {
        let needed = |sequence: &Sequence| sequence.length.div_ceil(block_size);
        self.block_size = block_size;
        self.num_blocks = self.sequences.iter().map(needed).sum();
        let mut free: Vec<_> = (0..self.num_blocks as u32).collect();
        dice.shuffle(&mut free);
        for sequence in &mut self.sequences {
            sequence.blocks = free.split_off(free.len() - needed(sequence));
        }
    }

    fn layout(&self, rows: &[Row]) -> StepLayout {
        let mut layout = StepLayout::default();
        for (which, positions) in rows {
            let sequence = &self.sequences[*which];
            let first = layout.tokens.len();
            for position in positions.clone() {
                layout.tokens.push(0);
                layout.positions.push(position as u32);
                let block = sequence.blocks[position / self.block_size] as usize;
                layout.slots.push((block * self.block_size + position % self.block_size) as u32);
            }
            let from = layout.blocks.len();
            layout.blocks.extend(&sequence.blocks[..positions.end.div_ceil(self.block_size)]);
            layout.spans.push(Span {
                tokens: first..layout.tokens.len(),
                start: positions.start,
                blocks: from..layout.blocks.len(),
            });
        }
        layout
    }

    /// The attention of every position of every sequence, computed in these steps.
    fn run<B: Ends>(&self, b: &mut B, steps: &[Vec<Row>]) -> Vec<Vec<f32>> {
        let Heads { keys_values, dim, .. } = self.shape.heads;
        let (num_blocks, block_size) = (self.num_blocks, self.block_size);
        let shape =
            CacheShape { dtype: DType::F16, num_blocks, block_size, heads: keys_values, dim };
        let mut cache = b.cache(shape).expect("a working device");
        let norms = [&self.norms[0], &self.norms[1]].map(|norm| b.vector(norm).expect("a vector"));
        let tokens = self.sequences.iter().map(|sequence| sequence.length).sum();
        let mut step =
            b.step(self.sequences.len(), tokens, num_blocks, 1).expect("a working device");
        let (width, out_width) = (self.shape.heads.qkv_width(), self.shape.heads.out_width());
        let empty = |sequence: &Sequence| vec![f32::NAN; sequence.length * out_width];
        let mut all: Vec<_> = self.sequences.iter().map(empty).collect();
        for rows in steps {
            let qkv: Vec<_> = rows
                .iter()
                .flat_map(|(which, at)| {
                    &self.sequences[*which].qkv[at.start * width..at.end * width]
                })
                .copied()
                .collect();
            b.stage(&self.layout(rows), &mut step);
            let mut qkv = b.floats(width, &qkv);
            let mut out = b.poisoned(tokens, out_width);
            b.head_rms_norm(&mut qkv, self.shape.heads, &norms[0], &norms[1], 1e-3);
            b.rope_and_store(&mut qkv, &step, self.shape.heads, &self.rope, &mut cache);
            b.attend(&qkv, &step, self.shape, &cache, &mut out);
            let mut values = b.values(&out);
            for (which, at) in rows {
                let rest = values.split_off(at.len() * out_width);
                all[*which][at.start * out_width..at.end * out_width].copy_from_slice(&values);
                values = rest;
            }
        }
        all
    }

    /// Fails unless all bits are equal.
    fn same(&self, one: &[Vec<f32>], other: &[Vec<f32>], what: &str) {
        let width = self.shape.heads.out_width();
        for (sequence, (one, other)) in one.iter().zip(other).enumerate() {
            let at = one.iter().zip(other).position(|(a, b)| a.to_bits() != b.to_bits());
            let at = at.map(|at| (at / width, at % width));
            assert_eq!(at, None, "{what}: sequence {sequence} has other bits from there on");
        }
    }

    /// Steps that compute everything, their rows at most so long.
    fn cut(&self, most: usize, dice: &mut Dice) -> Vec<Vec<Row>> {
        let mut done = vec![0; self.sequences.len()];
        let mut steps = Vec::new();
        while self.sequences.iter().zip(&done).any(|(sequence, done)| *done < sequence.length) {
            let mut rows = Vec::new();
            for (which, sequence) in self.sequences.iter().enumerate() {
                let left = sequence.length - done[which];
                if left > 0 && dice.below(4) > 0 {
                    let end = done[which] + between(1, 1 + left.min(most), dice);
                    rows.push((which, done[which]..end));
                    done[which] = end;
                }
            }
            dice.shuffle(&mut rows);
            if !rows.is_empty() {
                steps.push(rows);
            }
        }
        steps
    }
}

fn shape(queries: usize, keys_values: usize, dim: usize, window: usize) -> AttentionShape {
    let heads = Heads { queries, keys_values, dim };
    AttentionShape { heads, scale: 0.7 / (dim as f32).sqrt(), window: NonZero::new(window) }
}

#[test]
fn attention_over_sequences_cut_anywhere() {
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(31);
    let shapes = [
        shape(32, 4, 128, 0),
        shape(4, 2, 64, 0),
        shape(4, 4, 64, 40),
        shape(20, 1, 64, 0),
        shape(4, 1, 256, 300),
        shape(6, 2, 96, 0),
        shape(3, 1, 16, 70),
        shape(2, 2, 8, 0),
        shape(8, 2, 128, 200),
        shape(12, 1, 128, 0),
    ];
    for (nth, shape) in shapes.into_iter().enumerate() {
        let pairs = if nth % 2 == 0 { RopePairs::Halves } else { RopePairs::Neighbours };
        let mut case = Case::new(shape, pairs, &[1, 30, 301, 700], dice);
        if nth % 3 == 0 {
            case.turn(shape.heads.dim);
        }
        let whole = case.cut(usize::MAX, dice);
        let expected = case.run(&mut Naive::new(Rounding::Served), &whole);
        for block_size in BLOCK_SIZES {
            case.share_out(block_size, dice);
            let what = format!("{shape:?}, blocks of {block_size}");
            let found = case.run(&mut cuda, &whole);
            for (sequence, (found, expected)) in found.iter().zip(&expected).enumerate() {
                near(found, expected, 4e-3, &format!("{what}, sequence {sequence}"));
            }
            for most in [100, 3, 1] {
                let other = case.run(&mut cuda, &case.cut(most, dice));
                case.same(&found, &other, &format!("{what}, at most {most} positions"));
            }
        }
    }
}

#[test]
fn long_sequences_have_the_same_bits_however_many_blocks_share_them() {
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(33);
    for (shape, rows, length) in [(shape(8, 8, 64, 0), 40, 1_030), (shape(8, 1, 128, 0), 1, 9_000)]
    {
        let mut case = Case::new(shape, RopePairs::Halves, &vec![length; rows], dice);
        case.share_out(BLOCK_SIZES[0], dice);
        let before: Vec<Row> = (0..rows).map(|row| (row, 0..length - 1)).collect();
        let last: Vec<Row> = (0..rows).map(|row| (row, length - 1..length)).collect();
        let whole: Vec<Row> = (0..rows).map(|row| (row, 0..length)).collect();
        let alone = last.iter().map(|row| vec![row.clone()]);
        let steps: Vec<_> = std::iter::once(before.clone()).chain(alone).collect();
        let [whole, together, alone] =
            [vec![whole], vec![before, last], steps].map(|steps| case.run(&mut cuda, &steps));
        case.same(&whole, &together, &format!("{shape:?}, lone after a span"));
        case.same(&together, &alone, &format!("{shape:?}, alone"));
    }
}

#[test]
fn what_is_far_along_turns_by_the_right_angle() {
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(32);
    let shape = shape(2, 1, 64, 0);
    let mut case = Case::new(shape, RopePairs::Halves, &[1], dice);
    case.rope.magnitude = 1.0;
    let (block_size, width) = (case.block_size, shape.heads.qkv_width());
    let cache = CacheShape { dtype: DType::F16, num_blocks: 1, block_size, heads: 1, dim: 64 };
    let mut cache = cuda.cache(cache).expect("a working device");
    let mut step = cuda.step(1, 1, 1, 1).expect("a working device");
    for position in [1_000, 99_999, 1_000_003] {
        let mut layout = case.layout(&[(0, 0..1)]);
        layout.positions[0] = position;
        let before = numbers(width, dice);
        let mut qkv = cuda.floats(width, &before);
        cuda.stage(&layout, &mut step);
        cuda.rope_and_store(&mut qkv, &step, shape.heads, &case.rope, &mut cache);
        let mut expected = before;
        for head in expected[..3 * 64].chunks_exact_mut(64) {
            let pairs = case.rope.frequencies.len();
            for pair in 0..pairs {
                let angle = f64::from(position) * f64::from(case.rope.frequencies[pair]);
                let (sine, cosine) = (angle.sin() as f32, angle.cos() as f32);
                let (a, b) = (head[pair], head[pair + pairs]);
                head[pair] = a * cosine - b * sine;
                head[pair + pairs] = b * cosine + a * sine;
            }
        }
        near(&cuda.values(&qkv), &expected, 1e-6, &format!("position {position}"));
    }
}
