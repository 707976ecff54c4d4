//! Rotary position embedding, and the way of keys and values to the cache.

use engine_backend::{Heads, Rope, RopePairs};

use crate::{
    buffer::Buffer,
    cache::{Cache, Elements, Kept, Writer},
    simd::{Chosen, Cuts, Kernel, LANES, Rect, Simd, Team, grid, run},
    step::Step,
};

/// Rows of a task.
const ROWS_EACH: usize = 8;

/// Cosines and sines of a step's positions, computed once for all its layers.
#[derive(Default)]
pub(crate) struct Angles {
    /// One for each rope that the model has.
    tables: Vec<Table>,
}

struct Table {
    frequencies: Vec<f32>,
    magnitude: f32,
    /// Of which step.
    serial: u64,
    /// For each position of the step the cosine, then the sine, of each pair.
    turns: Vec<f32>,
}

impl Angles {
    /// The table of `rope` for `step`.
    fn of(&mut self, rope: &Rope, step: &Step) -> &[f32] {
        let known = self.tables.iter().position(|table| {
            table.magnitude == rope.magnitude && table.frequencies == rope.frequencies
        });
        let i = known.unwrap_or_else(|| {
            let frequencies = rope.frequencies.clone();
            let magnitude = rope.magnitude;
            self.tables.push(Table { frequencies, magnitude, serial: 0, turns: Vec::new() });
            self.tables.len() - 1
        });
        let table = &mut self.tables[i];
        if table.serial != step.serial {
            table.fill(&step.layout.positions);
            table.serial = step.serial;
        }
        &table.turns
    }
}

impl Table {
    fn fill(&mut self, positions: &[u32]) {
        let magnitude = f64::from(self.magnitude);
        self.turns.clear();
        for &position in positions {
            // Single precision would be off by a ten-thousandth at position 8,000.
            let angle = |frequency: &f32| f64::from(position) * f64::from(*frequency);
            let frequencies = self.frequencies.iter();
            self.turns.extend(
                frequencies.clone().map(|frequency| (angle(frequency).cos() * magnitude) as f32),
            );
            self.turns
                .extend(frequencies.map(|frequency| (angle(frequency).sin() * magnitude) as f32));
        }
    }
}

/// Turns queries and keys in place, and writes keys and values to the cache.
pub(crate) fn rope_and_store(
    team: &Team,
    isa: Chosen,
    angles: &mut Angles,
    (step, heads, rope): (&Step, Heads, &Rope),
    qkv: &mut Buffer,
    cache: &mut Cache,
) {
    let shape = cache.layout().shape;
    let (rows, width) = (qkv.rows(), qkv.width());
    assert_eq!(width, heads.qkv_width(), "width of fused projections");
    assert_eq!((shape.heads, shape.dim), (heads.keys_values, heads.dim), "heads of a cache");
    assert_eq!(rows, step.layout.tokens.len(), "a row for each token");
    assert!(2 * rope.frequencies.len() <= heads.dim, "pairs of a head");
    let turns = angles.of(rope, step);
    let input = (step.layout.slots.as_slice(), turns, heads, rope.pairs);
    let (elements, layout) = cache.elements_mut();
    match elements {
        Elements::F16(x) => turn_and_store(team, isa, input, qkv, &Writer::new(x, layout)),
        Elements::F32(x) => turn_and_store(team, isa, input, qkv, &Writer::new(x, layout)),
    }
}

/// Turns and stores all rows.
fn turn_and_store<K: Kept>(
    team: &Team,
    isa: Chosen,
    (slots, turns, heads, pairs): (&[u32], &[f32], Heads, RopePairs),
    qkv: &mut Buffer,
    cache: &Writer<'_, K>,
) {
    let (rows, width) = (qkv.rows(), qkv.width());
    let cuts = Cuts::Every { step: ROWS_EACH, total: rows };
    let all = Cuts::Every { step: width.max(1), total: width };
    grid(team, qkv.values_mut(), width, cuts, all, &|qkv, _| {
        run(isa, Turn { turns, heads, pairs, slots, cache, qkv });
    });
}

/// Turns and stores some rows.
struct Turn<'a, K: Kept> {
    turns: &'a [f32],
    heads: Heads,
    pairs: RopePairs,
    slots: &'a [u32],
    cache: &'a Writer<'a, K>,
    qkv: Rect<'a, f32>,
}

impl<K: Kept> Kernel for Turn<'_, K> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(mut self, s: S) {
        let Heads { queries, keys_values, dim } = self.heads;
        let turned = (queries + keys_values) * dim;
        let step = self.turns.len() / self.slots.len();
        let mut kept = [K::zeroed(); LANES];
        for i in 0..self.qkv.rows() {
            let row = self.qkv.row() + i;
            let slot = self.slots[row] as usize;
            let (cos, sin) = self.turns[row * step..][..step].split_at(step / 2);
            let line = self.qkv.line(i);
            for head in line[..turned].chunks_exact_mut(dim) {
                turn(head, cos, sin, self.pairs);
            }
            let stored = line[queries * dim..].chunks_exact(dim).enumerate();
            for (head, x) in stored {
                for (part, x) in x.chunks(LANES).enumerate() {
                    let mut lanes = [0.0; LANES];
                    lanes[..x.len()].copy_from_slice(x);
                    K::store(s, s.load(&lanes), &mut kept);
                    let kept = &kept[..x.len()];
                    if head < keys_values {
                        self.cache.key(slot, head, part * LANES, kept);
                    } else {
                        self.cache.value(slot, head - keys_values, part * LANES, kept);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn turn(head: &mut [f32], cos: &[f32], sin: &[f32], pairs: RopePairs) {
    let turned = 2 * cos.len();
    match pairs {
        RopePairs::Halves => {
            let (a, b) = head[..turned].split_at_mut(cos.len());
            for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
        RopePairs::Neighbours => {
            let (pairs, _) = head[..turned].as_chunks_mut::<2>();
            for (([a, b], cos), sin) in pairs.iter_mut().zip(cos).zip(sin) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}
