//! A backend of plain loops in single precision: what every operation means, slowly.
//!
//! It shares nothing with the backends that serve. Weights are dequantised by ggml's layouts when
//! they are loaded. Draws are greedy. [`Rounding`] says whether it also rounds where serving
//! backends do.

use engine_backend::{
    Activation, Backend, BackendError, CacheShape, DType, Event, Heads, Rope, RopePairs,
    StepLayout, Tensor,
};
use half::{bf16, f16};

/// Where numbers lose digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
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
    drawn: Vec<Option<u32>>,
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

/// Keys and values by slot, `[slots, heads, dim]` each.
pub(crate) struct Cache {
    block_size: usize,
    width: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
}

pub(crate) struct Drawn(Vec<Option<u32>>);

impl Event for Drawn {
    fn wait(self) -> Result<Vec<Option<u32>>, BackendError> {
        Ok(self.0)
    }
}

impl Naive {
    pub(crate) fn new(rounding: Rounding) -> Self {
        Self { rounding, seats: Vec::new(), drawn: Vec::new() }
    }

    /// A key or a value as the cache gives it back.
    fn kept(&self, value: f32) -> f32 {
        match self.rounding {
            Rounding::None => value,
            Rounding::Served => f16::from_f32(value).to_f32(),
        }
    }

    /// Inputs as quantised weights meet them.
    fn met(&self, x: &[f32]) -> Vec<f32> {
        match self.rounding {
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
    type Cache = Cache;
    type Step = StepLayout;
    type Event = Drawn;

    fn buffer(&mut self, _: usize, width: usize) -> Result<Rows, BackendError> {
        Ok(Rows { width, values: Vec::new() })
    }

    fn vector(&mut self, values: &[f32]) -> Result<Vec<f32>, BackendError> {
        Ok(values.to_vec())
    }

    fn matrix(&mut self, parts: &[Tensor<'_>]) -> Result<Matrix, BackendError> {
        let values = parts.iter().flat_map(dequantise).collect();
        let quantised = parts
            .iter()
            .flat_map(|part| std::iter::repeat_n(part.dtype.block_elements() > 1, part.rows))
            .collect();
        Ok(Matrix { cols: parts[0].cols, values, quantised })
    }

    fn cache_bytes(shape: CacheShape) -> usize {
        2 * shape.num_blocks * shape.block_size * shape.heads * shape.dim * size_of::<f32>()
    }

    fn cache(&mut self, shape: CacheShape) -> Result<Cache, BackendError> {
        let width = shape.heads * shape.dim;
        let empty = vec![f32::NAN; shape.num_blocks * shape.block_size * width];
        Ok(Cache { block_size: shape.block_size, width, keys: empty.clone(), values: empty })
    }

    fn step(&mut self, rows: usize, _: usize, _: usize) -> Result<StepLayout, BackendError> {
        self.seats = vec![u32::MAX; rows];
        Ok(StepLayout::default())
    }

    fn stage(&mut self, layout: &StepLayout, step: &mut StepLayout) {
        step.clone_from(layout);
        for inherit in &layout.inherits {
            step.tokens[inherit.token] = self.seats[inherit.seat];
        }
    }

    fn embed(&mut self, table: &Matrix, step: &StepLayout, out: &mut Rows) {
        out.fill(step.tokens.len(), |row, out| {
            out.copy_from_slice(
                &table.values[step.tokens[row] as usize * table.cols..][..table.cols],
            );
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
        out.fill(x.rows().len(), |row, out| {
            let (exact, met) = (x.row(row), self.met(x.row(row)));
            for (index, weight) in weight_rows(weight).enumerate() {
                let x = if weight.1 { &met } else { exact };
                out[index] = dot(x, weight.0) + bias.map_or(0.0, |bias| bias[index]);
            }
        });
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
        heads: Heads,
        scale: f32,
        cache: &Cache,
        out: &mut Rows,
    ) {
        out.set_rows(step.tokens.len());
        for span in &step.spans {
            for (nth, token) in span.tokens.clone().enumerate() {
                let slots: Vec<_> = (0..=span.start + nth)
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
        let Activation::Silu = activation;
        out.fill(gate_up.rows().len(), |row, out| {
            let (gate, up) = gate_up.row(row).split_at(out.len());
            for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                *out = gate / (1.0 + (-gate).exp()) * up;
            }
        });
    }

    fn gather(&mut self, x: &Rows, step: &StepLayout, out: &mut Rows) {
        out.fill(step.samples.len(), |row, out| {
            out.copy_from_slice(x.row(step.samples[row].token))
        });
    }

    fn sample(&mut self, logits: &Rows, step: &StepLayout) {
        self.drawn = logits.rows().map(largest).collect();
        for (sample, token) in step.samples.iter().zip(&self.drawn) {
            assert!(sample.draw.temperature == 0.0, "draws are greedy here");
            self.seats[sample.seat] = token.unwrap_or_default();
        }
    }

    fn record(&mut self, _: &StepLayout) -> Drawn {
        Drawn(std::mem::take(&mut self.drawn))
    }
}

fn weight_rows(weight: &Matrix) -> impl Iterator<Item = (&[f32], bool)> {
    weight.values.chunks_exact(weight.cols).zip(weight.quantised.iter().copied())
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

fn largest(logits: &[f32]) -> Option<u32> {
    if !logits.iter().all(|logit| logit.is_finite()) {
        return None;
    }
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = token;
        }
    }
    Some(best as u32)
}

fn dequantise(tensor: &Tensor<'_>) -> Vec<f32> {
    let blocks = tensor.bytes.chunks_exact(tensor.dtype.block_bytes());
    let mut out = Vec::with_capacity(tensor.rows * tensor.cols);
    for block in blocks {
        let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
        match tensor.dtype {
            DType::Bf16 => out.push(bf16::from_le_bytes([block[0], block[1]]).to_f32()),
            DType::F16 => out.push(half(0)),
            DType::F32 => out.push(f32::from_le_bytes(block.try_into().expect("four bytes"))),
            DType::Q4_1 => {
                let low = block[4..].iter().map(|byte| byte & 15);
                let high = block[4..].iter().map(|byte| byte >> 4);
                out.extend(low.chain(high).map(|q| half(0) * f32::from(q) + half(2)));
            }
            DType::Q6K => out.extend((0..256).map(|index| half(208) * q6k(block, index))),
            DType::Q8_0 => {
                out.extend(block[2..].iter().map(|&q| half(0) * f32::from(q.cast_signed())));
            }
            DType::Iq4Nl
            | DType::Iq4Xs
            | DType::Mxfp4
            | DType::Q2K
            | DType::Q3K
            | DType::Q4_0
            | DType::Q4K
            | DType::Q5_0
            | DType::Q5_1
            | DType::Q5K => {
                panic!("no test here has weights of type {:?}", tensor.dtype)
            }
        }
    }
    out
}

/// One element of a block of 256, before the block's scale. Each half of the block has four groups
/// of 32 that share bytes: low four bits in `ql`, high two bits in `qh`.
fn q6k(block: &[u8], index: usize) -> f32 {
    let (half, group, at) = (index / 128, index % 128 / 32, index % 32);
    let low = block[half * 64 + group % 2 * 32 + at] >> (group / 2 * 4) & 15;
    let high = block[128 + half * 32 + at] >> (group * 2) & 3;
    let scale = block[192 + index / 16].cast_signed();
    let q = i32::from(low | high << 4) - 32;
    f32::from(scale) * q as f32
}
