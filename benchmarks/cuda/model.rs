//! A model of chance on a GPU: the operations of a step in a decoder's order.

use engine_backend::{
    Activation, AttentionShape, Backend, BackendError, CacheShape, DType, Draw, Noise, Rope,
    RopePairs, Router, Sample, Source, Span, StepLayout, Tensor,
};
use engine_cuda::{Buffer, Cache, CudaBackend, Experts, Matrix, Routes, Step, Vector};

use crate::kept::Kept;
use crate::shape::{Mlp, Shape};

const BLOCK_SIZE: usize = 16;
const EPS: f32 = 1e-6;

/// The most that a step holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) rows: usize,
    /// Positions that a step computes.
    pub(crate) tokens: usize,
    /// Positions of all rows together, those behind them too.
    pub(crate) positions: usize,
}

impl Limits {
    fn blocks(self) -> usize {
        // Each row's last block may be filled with one position.
        self.positions / BLOCK_SIZE + self.rows
    }
}

/// A model, and the step that is staged.
pub(crate) struct Model {
    shape: Shape,
    embedding: Matrix,
    head: Matrix,
    norm: Vector,
    head_norm: Vector,
    layers: Vec<Layer>,
    scratch: Scratch,
    step: Step,
}

struct Layer {
    qkv: Matrix,
    output: Matrix,
    mlp: Weights,
    cache: Cache,
}

enum Weights {
    Dense { gate_up: Matrix, down: Matrix },
    Mixture { router: Matrix, gate_up: Experts, down: Experts },
}

struct Scratch {
    residual: Buffer,
    normed: Buffer,
    qkv: Buffer,
    attended: Buffer,
    delta: Buffer,
    gate_up: Buffer,
    gated: Buffer,
    mixture: Option<Between>,
    picked: Buffer,
    logits: Buffer,
}

/// What only a mixture has between its products.
struct Between {
    scores: Buffer,
    routes: Routes,
    outputs: Buffer,
}

const THERE: &str = "a mixture has room for what is between its products";

impl Model {
    pub(crate) fn new(
        b: &mut CudaBackend,
        (shape, kept): (Shape, Kept),
        limits: Limits,
    ) -> Result<Self, BackendError> {
        let Limits { rows, tokens, .. } = limits;
        let blocks = limits.blocks();
        let layers = (0..shape.layers).map(|layer| Layer::new(b, (shape, kept), layer, blocks));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            shape,
            embedding: b.exact_matrix(&[chance(1 << 20, kept.most(), shape.vocab, shape.width)])?,
            head: b.matrix(&[chance(2 << 20, kept.head(), shape.vocab, shape.width)])?,
            norm: b.vector(&vec![1.0; shape.width])?,
            head_norm: b.vector(&vec![1.0; shape.heads.dim])?,
            layers,
            scratch: Scratch::new(b, shape, rows, tokens)?,
            step: b.step(rows, tokens, blocks, shape.vocab)?,
        })
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// Bytes of weights that a step reads, given how many experts of a layer somebody chose.
    pub(crate) fn bytes(&self, experts: f64) -> f64 {
        let layers: f64 = self.layers.iter().map(|layer| layer.bytes(experts)).sum();
        layers + self.head.bytes() as f64
    }

    /// Stages rows that have so many positions behind them, and compute so many.
    pub(crate) fn stage(&mut self, b: &mut CudaBackend, rows: &[(usize, usize)]) {
        let mut layout = StepLayout::default();
        for (seat, &(start, count)) in rows.iter().enumerate() {
            let first = layout.tokens.len();
            let from = layout.blocks.len();
            let needed = (start + count).div_ceil(BLOCK_SIZE);
            layout.blocks.extend((0..needed).map(|i| (i * rows.len() + seat) as u32));
            for position in start..start + count {
                // Any tokens, but not the same.
                layout.tokens.push((layout.tokens.len() * 7919 % self.shape.vocab) as u32);
                layout.positions.push(position as u32);
                let block = layout.blocks[from + position / BLOCK_SIZE] as usize;
                layout.slots.push((block * BLOCK_SIZE + position % BLOCK_SIZE) as u32);
            }
            let last = layout.tokens.len();
            let (tokens, blocks) = (first..last, from..layout.blocks.len());
            layout.spans.push(Span { tokens, start, blocks });
            let draw = Draw::GREEDY;
            let position = (start + count) as u32;
            layout.samples.push(Sample { token: last - 1, seat, position, draw });
        }
        b.stage(&layout, &mut self.step);
    }

    /// The staged step.
    pub(crate) fn run(&mut self, b: &mut CudaBackend) {
        self.embed(b);
        for layer in 0..self.layers.len() {
            self.attention(b, layer);
            self.mlp(b, layer);
        }
        self.head(b);
    }

    /// Runs the staged step, and says how many experts of a layer somebody chose, on average.
    pub(crate) fn distinct(&mut self, b: &mut CudaBackend) -> Result<f64, BackendError> {
        self.embed(b);
        let mut sum = 0;
        for layer in 0..self.layers.len() {
            self.attention(b, layer);
            self.mlp(b, layer);
            if let Some(between) = &self.scratch.mixture {
                sum += between.routes.distinct()?;
            }
        }
        self.head(b);
        b.finish()?;
        Ok(sum as f64 / self.layers.len() as f64)
    }

    pub(crate) fn embed(&mut self, b: &mut CudaBackend) {
        let Scratch { residual, normed, .. } = &mut self.scratch;
        // Large enough that a position is still told by its token after many layers of chance, and
        // chooses experts of its own.
        b.embed(&self.embedding, &self.step, 1000.0, residual);
        b.rms_norm(residual, &self.norm, EPS, normed);
    }

    pub(crate) fn attention(&mut self, b: &mut CudaBackend, layer: usize) {
        let heads = self.shape.heads;
        let shape = AttentionShape { heads, scale: (heads.dim as f32).powf(-0.5), window: None };
        let frequency = |pair: usize| 1e6_f32.powf(-2.0 * pair as f32 / heads.dim as f32);
        let rope = Rope {
            pairs: RopePairs::Halves,
            frequencies: (0..heads.dim / 2).map(frequency).collect(),
            magnitude: 1.0,
        };
        let Scratch { normed, qkv, attended, delta, residual, .. } = &mut self.scratch;
        let Layer { qkv: weight, output, cache, .. } = &mut self.layers[layer];
        b.linear(normed, weight, None, qkv);
        b.head_rms_norm(qkv, heads, &self.head_norm, &self.head_norm, EPS);
        b.rope_and_store(qkv, &self.step, heads, &rope, cache);
        b.attend(qkv, &self.step, shape, cache, attended);
        b.linear(attended, output, None, delta);
        b.add_rms_norm(delta, residual, &self.norm, EPS, normed);
    }

    pub(crate) fn mlp(&mut self, b: &mut CudaBackend, layer: usize) {
        let Scratch { normed, gate_up, gated, mixture, delta, residual, .. } = &mut self.scratch;
        match &self.layers[layer].mlp {
            Weights::Dense { gate_up: up, down } => {
                b.gated_linear(normed, up, Activation::Silu, gate_up, gated);
                b.linear(gated, down, None, delta);
            }
            Weights::Mixture { router: scorer, gate_up: up, down } => {
                let Between { scores, routes, outputs } = mixture.as_mut().expect(THERE);
                let Mlp::Mixture(router, _) = self.shape.mlp else { unreachable!("{THERE}") };
                b.route_linear(normed, scorer, scores, router, routes);
                b.expert_gated(normed, up, routes, Activation::Silu, gate_up, gated);
                b.expert_sum(gated, down, routes, outputs, delta);
            }
        }
        b.add_rms_norm(delta, residual, &self.norm, EPS, normed);
    }

    pub(crate) fn head(&mut self, b: &mut CudaBackend) {
        let Scratch { normed, picked, logits, .. } = &mut self.scratch;
        b.gather(normed, &self.step, picked);
        b.linear(picked, &self.head, None, logits);
        b.sample(logits, &self.step);
    }

    /// One operation of a layer, by its place in the layer, with its name. `None` past the last.
    pub(crate) fn operation(
        &mut self,
        b: &mut CudaBackend,
        layer: usize,
        which: usize,
    ) -> Option<&'static str> {
        let heads = self.shape.heads;
        let shape = AttentionShape { heads, scale: 0.1, window: None };
        let rope = Rope {
            pairs: RopePairs::Halves,
            frequencies: vec![0.1; heads.dim / 2],
            magnitude: 1.0,
        };
        let s = &mut self.scratch;
        let w = &mut self.layers[layer];
        match which {
            0 => b.linear(&s.normed, &w.qkv, None, &mut s.qkv),
            1 => b.head_rms_norm(&mut s.qkv, heads, &self.head_norm, &self.head_norm, EPS),
            2 => b.rope_and_store(&mut s.qkv, &self.step, heads, &rope, &mut w.cache),
            3 => b.attend(&s.qkv, &self.step, shape, &w.cache, &mut s.attended),
            4 => b.linear(&s.attended, &w.output, None, &mut s.delta),
            5 => b.add_rms_norm(&s.delta, &mut s.residual, &self.norm, EPS, &mut s.normed),
            _ => return self.mlp_operation(b, layer, which - ATTENTION.len()),
        }
        Some(ATTENTION[which])
    }

    fn mlp_operation(
        &mut self,
        b: &mut CudaBackend,
        layer: usize,
        which: usize,
    ) -> Option<&'static str> {
        let Scratch { normed, gate_up, gated, mixture, delta, .. } = &mut self.scratch;
        match &self.layers[layer].mlp {
            Weights::Dense { gate_up: up, down } => {
                match which {
                    0 => b.gated_linear(normed, up, Activation::Silu, gate_up, gated),
                    1 => b.linear(gated, down, None, delta),
                    _ => return None,
                }
                Some(DENSE[which])
            }
            Weights::Mixture { router: scorer, gate_up: up, down } => {
                let Between { scores, routes, outputs } = mixture.as_mut().expect(THERE);
                let Mlp::Mixture(router, _) = self.shape.mlp else { unreachable!("{THERE}") };
                match which {
                    0 => b.route_linear(normed, scorer, scores, router, routes),
                    1 => b.expert_gated(normed, up, routes, Activation::Silu, gate_up, gated),
                    2 => b.expert_sum(gated, down, routes, outputs, delta),
                    _ => return None,
                }
                Some(MIXTURE[which])
            }
        }
    }
}

const ATTENTION: [&str; 6] = ["qkv", "head norm", "rope", "attend", "output", "add norm"];
const DENSE: [&str; 2] = ["gate, up", "down"];
const MIXTURE: [&str; 3] = ["route", "gate, up", "down, sum"];

impl Layer {
    fn new(
        b: &mut CudaBackend,
        (shape, kept): (Shape, Kept),
        layer: usize,
        num_blocks: usize,
    ) -> Result<Self, BackendError> {
        let Shape { width, heads, mlp, .. } = shape;
        let cache = CacheShape {
            dtype: DType::F16,
            num_blocks,
            block_size: BLOCK_SIZE,
            heads: heads.keys_values,
            dim: heads.dim,
        };
        let tensor = |which, dtype, rows, cols| chance(layer * 8 + which, dtype, rows, cols);
        let (most, last) = (kept.most(), kept.down(shape, layer));
        let values = heads.keys_values * heads.dim;
        let qkv =
            [tensor(0, most, heads.qkv_width() - values, width), tensor(1, last, values, width)];
        Ok(Self {
            qkv: b.matrix(&qkv)?,
            output: b.matrix(&[tensor(2, most, width, heads.out_width())])?,
            mlp: match mlp {
                Mlp::Dense(inner) => Weights::Dense {
                    gate_up: b.matrix(&[tensor(3, most, 2 * inner, width)])?,
                    down: b.matrix(&[tensor(4, last, width, inner)])?,
                },
                Mlp::Mixture(Router { experts, .. }, inner) => Weights::Mixture {
                    router: b.exact_matrix(&[tensor(5, DType::Bf16, experts, width)])?,
                    gate_up: b
                        .experts(&each(tensor(6, most, experts * 2 * inner, width), experts))?,
                    down: b.experts(&each(tensor(7, last, experts * width, inner), experts))?,
                },
            },
            cache: b.cache(cache)?,
        })
    }

    /// Bytes of weights that a step reads, given how many experts somebody chose.
    fn bytes(&self, chosen: f64) -> f64 {
        let mlp = match &self.mlp {
            Weights::Dense { gate_up, down } => (gate_up.bytes() + down.bytes()) as f64,
            Weights::Mixture { router, gate_up, down } => {
                let each = |experts: &Experts| experts.bytes() as f64 / experts.experts() as f64;
                router.bytes() as f64 + chosen * (each(gate_up) + each(down))
            }
        };
        (self.qkv.bytes() + self.output.bytes()) as f64 + mlp
    }
}

/// Weights of chance that keep the size of what they are multiplied with, about.
fn chance(key: usize, dtype: DType, rows: usize, cols: usize) -> Tensor<'static> {
    let size = (cols as f32).powf(-0.5);
    let stride = (cols / dtype.block_elements()) as u64;
    let noise =
        Noise { key: (key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15), size, first: 0, stride };
    Tensor { dtype, rows, cols, source: Source::Noise(noise) }
}

/// The equal shares of so many experts in a tensor of chance.
fn each(all: Tensor<'static>, experts: usize) -> Vec<Vec<Tensor<'static>>> {
    let Source::Noise(noise) = all.source else { return Vec::new() };
    let rows = all.rows / experts;
    let share =
        |expert| Tensor { rows, source: Source::Noise(noise.from_row(expert * rows)), ..all };
    (0..experts).map(|expert| vec![share(expert)]).collect()
}

impl Scratch {
    fn new(
        b: &mut CudaBackend,
        shape: Shape,
        rows: usize,
        tokens: usize,
    ) -> Result<Self, BackendError> {
        let Shape { width, heads, vocab, mlp, .. } = shape;
        let (choices, inner, router) = match mlp {
            Mlp::Dense(inner) => (tokens, inner, None),
            Mlp::Mixture(router, inner) => (tokens * router.chosen, inner, Some(router)),
        };
        let between = |router: Router| -> Result<Between, BackendError> {
            Ok(Between {
                scores: b.buffer(tokens, router.experts)?,
                routes: b.routes(tokens, router)?,
                outputs: b.buffer(choices, width)?,
            })
        };
        Ok(Self {
            mixture: router.map(between).transpose()?,
            residual: b.buffer(tokens, width)?,
            normed: b.buffer(tokens, width)?,
            qkv: b.buffer(tokens, heads.qkv_width())?,
            attended: b.buffer(tokens, heads.out_width())?,
            delta: b.buffer(tokens, width)?,
            gate_up: b.buffer(choices, 2 * inner)?,
            gated: b.buffer(choices, inner)?,
            picked: b.buffer(rows, width)?,
            logits: b.buffer(rows, vocab)?,
        })
    }
}
