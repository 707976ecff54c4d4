//! A backend of plain loops in single precision: what every operation means, slowly.
//!
//! It shares nothing with the backends that serve. Weights are dequantised by ggml's layouts when
//! they are loaded. Draws are greedy, penalties and all. [`Rounding`] says whether it also rounds
//! where serving backends do.

use engine_backend::{
    Activation, AttentionShape, Backend, BackendError, CacheShape, Drawn, Event, ExpertInput,
    Heads, Rank, Rope, RopePairs, Router, StepLayout, Tensor,
};
use half::{bf16, f16};

use crate::floats::floats;

#[path = "said.rs"]
mod said;

use said::Text;

/// Where numbers lose digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// What products meet, weights as well as inputs, becomes bf16; keys and values become halves.
    Bf16,
    /// Nowhere but in the weights' own types.
    None,
    /// Keys and values become halves; what meets quantised weights becomes bytes, 32 with one
    /// scale.
    Served,
}

pub(crate) struct Naive {
    rounding: Rounding,
    /// The token last drawn at each seat.
    seats: Vec<u32>,
    texts: Vec<Text>,
    drawn: Drawn,
    /// What was asked for so far: elements of buffers, and bytes of weights as files have them.
    pub(crate) asked: (u64, u64),
    pub(crate) rank: Rank,
}

/// `[rows, width]`.
pub(crate) struct Rows {
    width: usize,
    pub(crate) values: Vec<f32>,
}

pub(crate) struct Matrix {
    cols: usize,
    values: Vec<f32>,
    /// For each output, whether its weights are quantised.
    quantised: Vec<bool>,
}

/// Who goes to which expert.
#[derive(Default)]
pub(crate) struct Routes {
    /// Expert and position of each choice, sorted.
    choices: Vec<(usize, usize)>,
    /// For each position its experts and their weights, the largest first.
    chosen: Vec<Vec<(usize, f32)>>,
}

/// Keys and values by slot, `[slots, heads, dim]` each.
pub(crate) struct Cache {
    block_size: usize,
    width: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
}

pub(crate) struct Done(Drawn);

impl Event for Done {
    fn wait(self) -> Result<Drawn, BackendError> {
        Ok(self.0)
    }
}

impl Naive {
    pub(crate) fn new(rounding: Rounding) -> Self {
        let (seats, texts) = (Vec::new(), Vec::new());
        let drawn = Drawn::default();
        Self { rounding, seats, texts, drawn, asked: (0, 0), rank: Rank::ALONE }
    }

    /// A key or a value as the cache gives it back.
    fn kept(&self, value: f32) -> f32 {
        match self.rounding {
            Rounding::None => value,
            Rounding::Bf16 | Rounding::Served => f16::from_f32(value).to_f32(),
        }
    }

    /// One row against all outputs of a weight.
    fn product(&self, x: &[f32], weight: &Matrix, bias: Option<&Vec<f32>>, out: &mut [f32]) {
        let met = self.met(x);
        for (index, (weight, quantised)) in weight_rows(weight).enumerate() {
            let x = if quantised || self.rounding == Rounding::Bf16 { &met } else { x };
            out[index] = dot(x, weight) + bias.map_or(0.0, |bias| bias[index]);
        }
    }

    /// Inputs as quantised weights meet them.
    fn met(&self, x: &[f32]) -> Vec<f32> {
        match self.rounding {
            Rounding::Bf16 => x.iter().copied().map(as_bf16).collect(),
            Rounding::None => x.to_vec(),
            Rounding::Served => x.chunks(32).flat_map(as_bytes).collect(),
        }
    }
}

impl Rows {
    fn set_rows(&mut self, rows: usize) {
        self.values.resize(rows * self.width, 0.0);
    }

    fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.width)
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..][..self.width]
    }

    fn fill(&mut self, rows: usize, row: impl Fn(usize, &mut [f32])) {
        self.set_rows(rows);
        self.values
            .chunks_exact_mut(self.width)
            .enumerate()
            .for_each(|(index, out)| row(index, out));
    }
}

impl Backend for Naive {
    type Buffer = Rows;
    type Vector = Vec<f32>;
    type Matrix = Matrix;
    type Experts = Vec<Matrix>;
    type Routes = Routes;
    type Cache = Cache;
    type Step = StepLayout;
    type Event = Done;

    fn rank(&self) -> Rank {
        self.rank
    }

    fn buffer(&mut self, rows: usize, width: usize) -> Result<Rows, BackendError> {
        self.asked.0 += (rows * width) as u64;
        Ok(Rows { width, values: Vec::new() })
    }

    fn vector(&mut self, values: &[f32]) -> Result<Vec<f32>, BackendError> {
        self.asked.1 += size_of_val(values) as u64;
        Ok(values.to_vec())
    }

    fn matrix(&mut self, parts: &[Tensor<'_>]) -> Result<Matrix, BackendError> {
        let blocks = |part: &Tensor<'_>| {
            let (dtype, bytes) = (part.dtype, part.bytes(0..part.rows));
            self.asked.1 += bytes.len() as u64;
            let blocks = bytes.chunks_exact(dtype.block_bytes());
            blocks.flat_map(|block| floats(dtype, block)).collect::<Vec<_>>()
        };
        let mut values: Vec<_> = parts.iter().flat_map(blocks).collect();
        if self.rounding == Rounding::Bf16 {
            values.iter_mut().for_each(|value| *value = as_bf16(*value));
        }
        let quantised = parts
            .iter()
            .flat_map(|part| std::iter::repeat_n(part.dtype.block_elements() > 1, part.rows))
            .collect();
        Ok(Matrix { cols: parts[0].cols, values, quantised })
    }

    fn experts(&mut self, experts: &[Vec<Tensor<'_>>]) -> Result<Vec<Matrix>, BackendError> {
        experts.iter().map(|parts| self.matrix(parts)).collect()
    }

    fn routes(&mut self, _: usize, _: Router) -> Result<Routes, BackendError> {
        Ok(Routes::default())
    }

    fn cache_bytes(shape: CacheShape) -> usize {
        2 * shape.num_blocks * shape.block_size * shape.heads * shape.dim * size_of::<f32>()
    }

    fn cache(&mut self, shape: CacheShape) -> Result<Cache, BackendError> {
        let width = shape.heads * shape.dim;
        let empty = vec![f32::NAN; shape.num_blocks * shape.block_size * width];
        Ok(Cache { block_size: shape.block_size, width, keys: empty.clone(), values: empty })
    }

    fn step(
        &mut self,
        rows: usize,
        _: usize,
        _: usize,
        _: usize,
    ) -> Result<StepLayout, BackendError> {
        self.seats = vec![u32::MAX; rows];
        self.texts = vec![Text::default(); rows];
        Ok(StepLayout::default())
    }

    fn stage(&mut self, layout: &StepLayout, step: &mut StepLayout) {
        step.clone_from(layout);
        for tally in &layout.tallies {
            self.texts[tally.seat] = Text::new(layout, tally);
        }
        for inherit in &layout.inherits {
            step.tokens[inherit.token] = self.seats[inherit.seat];
        }
    }

    fn embed(&mut self, table: &Matrix, step: &StepLayout, scale: f32, out: &mut Rows) {
        out.fill(step.tokens.len(), |row, out| {
            let embedding = &table.values[step.tokens[row] as usize * table.cols..][..table.cols];
            out.iter_mut().zip(embedding).for_each(|(out, x)| *out = x * scale);
        });
    }

    fn rms_norm(&mut self, x: &Rows, weight: &Vec<f32>, eps: f32, out: &mut Rows) {
        out.fill(x.rows().len(), |row, out| {
            let x = x.row(row);
            let mean = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
            for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                *out = x / (mean + eps).sqrt() * weight;
            }
        });
    }

    fn add_rms_norm(
        &mut self,
        x: &Rows,
        residual: &mut Rows,
        weight: &Vec<f32>,
        eps: f32,
        out: &mut Rows,
    ) {
        residual.values.iter_mut().zip(&x.values).for_each(|(residual, x)| *residual += x);
        self.rms_norm(residual, weight, eps, out);
    }

    fn linear(&mut self, x: &Rows, weight: &Matrix, bias: Option<&Vec<f32>>, out: &mut Rows) {
        out.fill(x.rows().len(), |row, out| self.product(x.row(row), weight, bias, out));
    }

    fn head_rms_norm(
        &mut self,
        qkv: &mut Rows,
        heads: Heads,
        query: &Vec<f32>,
        key: &Vec<f32>,
        eps: f32,
    ) {
        for row in qkv.values.chunks_exact_mut(qkv.width) {
            for (nth, head) in row.chunks_exact_mut(heads.dim).enumerate() {
                let weight = match nth {
                    nth if nth < heads.queries => query,
                    nth if nth < heads.queries + heads.keys_values => key,
                    _ => continue,
                };
                let mean = head.iter().map(|x| x * x).sum::<f32>() / heads.dim as f32;
                for (x, weight) in head.iter_mut().zip(weight) {
                    *x = *x / (mean + eps).sqrt() * weight;
                }
            }
        }
    }

    fn rope_and_store(
        &mut self,
        qkv: &mut Rows,
        step: &StepLayout,
        heads: Heads,
        rope: &Rope,
        cache: &mut Cache,
    ) {
        let (queries, keys) = (heads.queries * heads.dim, heads.keys_values * heads.dim);
        for (token, row) in qkv.values.chunks_exact_mut(qkv.width).enumerate() {
            for head in row[..queries + keys].chunks_exact_mut(heads.dim) {
                turn(head, step.positions[token] as f32, rope);
            }
            let slot = step.slots[token] as usize * cache.width;
            for at in 0..keys {
                cache.keys[slot + at] = self.kept(row[queries + at]);
                cache.values[slot + at] = self.kept(row[queries + keys + at]);
            }
        }
    }

    fn attend(
        &mut self,
        qkv: &Rows,
        step: &StepLayout,
        AttentionShape { heads, scale, window }: AttentionShape,
        cache: &Cache,
        out: &mut Rows,
    ) {
        out.set_rows(step.tokens.len());
        for span in &step.spans {
            for (nth, token) in span.tokens.clone().enumerate() {
                let position = span.start + nth;
                let first = window.map_or(0, |window| (position + 1).saturating_sub(window.get()));
                let slots: Vec<_> = (first..=position)
                    .map(|position| {
                        let block = step.blocks[span.blocks.clone()][position / cache.block_size];
                        block as usize * cache.block_size + position % cache.block_size
                    })
                    .collect();
                let out = &mut out.values[token * out.width..][..out.width];
                for (head, out) in out.chunks_exact_mut(heads.dim).enumerate() {
                    let query = &qkv.row(token)[head * heads.dim..][..heads.dim];
                    let shared = head / (heads.queries / heads.keys_values) * heads.dim;
                    attend_one(query, &slots, shared, scale, cache, out);
                }
            }
        }
    }

    fn gated(&mut self, gate_up: &Rows, activation: Activation, out: &mut Rows) {
        out.fill(gate_up.rows().len(), |row, out| {
            let (gate, up) = gate_up.row(row).split_at(out.len());
            for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                *out = activate(activation, *gate) * up;
            }
        });
    }

    fn route(&mut self, scores: &Rows, router: Router, routes: &mut Routes) {
        assert_eq!(scores.width, router.experts);
        routes.chosen = scores.rows().map(|row| choose(row, router)).collect();
        routes.choices = (0..router.experts)
            .flat_map(|expert| (0..routes.chosen.len()).map(move |position| (expert, position)))
            .filter(|&(expert, position)| {
                routes.chosen[position].iter().any(|(chosen, _)| *chosen == expert)
            })
            .collect();
    }

    fn expert_linear(
        &mut self,
        x: &Rows,
        input: ExpertInput,
        weight: &Vec<Matrix>,
        routes: &Routes,
        out: &mut Rows,
    ) {
        out.fill(routes.choices.len(), |choice, out| {
            let (expert, position) = routes.choices[choice];
            let row = match input {
                ExpertInput::Choices => choice,
                ExpertInput::Positions => position,
            };
            self.product(x.row(row), &weight[expert], None, out);
        });
    }

    fn combine(&mut self, x: &Rows, routes: &Routes, out: &mut Rows) {
        out.fill(routes.chosen.len(), |position, out| {
            out.fill(0.0);
            for &(expert, weight) in &routes.chosen[position] {
                let mut choices = routes.choices.iter();
                let choice = choices.position(|choice| *choice == (expert, position));
                let x = x.row(choice.expect("every choice has a row"));
                out.iter_mut().zip(x).for_each(|(out, x)| *out += weight * x);
            }
        });
    }

    fn add_gated(&mut self, x: &Rows, gate: &Rows, out: &mut Rows) {
        for (row, out) in out.values.chunks_exact_mut(out.width).enumerate() {
            let share = sigmoid(gate.row(row)[0]);
            out.iter_mut().zip(x.row(row)).for_each(|(out, x)| *out += x * share);
        }
    }

    fn all_reduce(&mut self, _: &mut Rows, _: &mut Rows) {
        unreachable!("alone")
    }

    fn all_gather(&mut self, _: &Rows, _: &mut Rows, _: &mut Rows) {
        unreachable!("alone")
    }

    fn gather(&mut self, x: &Rows, step: &StepLayout, out: &mut Rows) {
        out.fill(step.samples.len(), |row, out| {
            out.copy_from_slice(x.row(step.samples[row].token))
        });
    }

    fn sample(&mut self, logits: &Rows, step: &StepLayout) {
        for (sample, logits) in step.samples.iter().zip(logits.rows()) {
            assert!(sample.draw.temperature == 0.0, "draws are greedy here");
            let drawn = self.texts[sample.seat].draw(logits, &sample.draw);
            let (token, logprobs) = drawn.unzip();
            self.seats[sample.seat] = token.unwrap_or_default();
            self.drawn.tokens.push(token);
            self.drawn.logprobs.extend(logprobs.flatten());
        }
    }

    fn record(&mut self, _: &StepLayout) -> Done {
        Done(std::mem::take(&mut self.drawn))
    }
}

fn weight_rows(weight: &Matrix) -> impl Iterator<Item = (&[f32], bool)> {
    weight.values.chunks_exact(weight.cols).zip(weight.quantised.iter().copied())
}

fn as_bf16(x: f32) -> f32 {
    bf16::from_f32(x).to_f32()
}

fn as_bytes(unit: &[f32]) -> Vec<f32> {
    let scale = unit.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0;
    unit.iter()
        .map(|x| if scale > 0.0 { (x / scale).round_ties_even() * scale } else { 0.0 })
        .collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn activate(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Gelu => {
            let inner = (2.0 / std::f32::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Silu => x * sigmoid(x),
    }
}

/// The experts that a position chooses and their weights, the largest first.
fn choose(scores: &[f32], router: Router) -> Vec<(usize, f32)> {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<_> = scores.iter().map(|score| (score - most).exp()).collect();
    let mut order: Vec<_> = (0..router.experts).collect();
    // The sort keeps the order of equals.
    order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]));
    order.truncate(router.chosen);
    let of = if router.normalised {
        order.iter().map(|&expert| shares[expert]).sum::<f32>()
    } else {
        shares.iter().sum()
    };
    order.into_iter().map(|expert| (expert, shares[expert] / of)).collect()
}

fn turn(head: &mut [f32], position: f32, rope: &Rope) {
    let pairs = rope.frequencies.len();
    for (pair, frequency) in rope.frequencies.iter().enumerate() {
        let (first, second) = match rope.pairs {
            RopePairs::Halves => (pair, pair + pairs),
            RopePairs::Neighbours => (2 * pair, 2 * pair + 1),
        };
        let (sine, cosine) = (position * frequency).sin_cos();
        let (sine, cosine) = (sine * rope.magnitude, cosine * rope.magnitude);
        let (a, b) = (head[first], head[second]);
        head[first] = a * cosine - b * sine;
        head[second] = a * sine + b * cosine;
    }
}

/// One query over the slots of its own and all earlier positions; the head's keys and values begin
/// at `shared` in each.
fn attend_one(
    query: &[f32],
    slots: &[usize],
    shared: usize,
    scale: f32,
    cache: &Cache,
    out: &mut [f32],
) {
    let part =
        |all: &'_ [f32], slot: usize| all[slot * cache.width + shared..][..query.len()].to_vec();
    let scores: Vec<_> =
        slots.iter().map(|&slot| dot(query, &part(&cache.keys, slot)) * scale).collect();
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<_> = scores.iter().map(|score| (score - most).exp()).collect();
    let total: f32 = weights.iter().sum();
    out.fill(0.0);
    for (weight, &slot) in weights.iter().zip(slots) {
        for (out, value) in out.iter_mut().zip(part(&cache.values, slot)) {
            *out += weight / total * value;
        }
    }
}
