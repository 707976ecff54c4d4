//! A mixture of chance on a GPU: the operations of a step in a decoder's order.

use engine_backend::{
    Activation, AttentionShape, Backend, BackendError, CacheShape, DType, Draw, ExpertInput, Heads,
    Rope, RopePairs, Router, Sample, Span, StepLayout,
};
use engine_cuda::{Buffer, Cache, CudaBackend, Experts, Matrix, Routes, Step, Vector};

/// Sizes of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    pub(crate) width: usize,
    pub(crate) vocab: usize,
    pub(crate) heads: Heads,
    pub(crate) router: Router,
    /// Of an expert.
    pub(crate) inner: usize,
}

pub(crate) const QWEN3_30B_A3B: Shape = Shape {
    layers: 48,
    width: 2048,
    vocab: 151_936,
    heads: Heads { queries: 32, keys_values: 4, dim: 128 },
    router: Router { experts: 128, chosen: 8, normalised: true },
    inner: 768,
};

const BLOCK_SIZE: usize = 16;
/// Blocks of the longest row.
const BLOCKS_EACH: usize = 17;
const EPS: f32 = 1e-6;

impl Shape {
    /// Bytes of weights that a step reads, given how many experts of a layer somebody chose.
    pub(crate) fn bytes(&self, experts: f64) -> f64 {
        let attention = self.width * self.heads.qkv_width() + self.heads.out_width() * self.width;
        let dense = attention + self.width * self.router.experts;
        let expert = 3 * self.width * self.inner;
        let layer = dense as f64 + experts * expert as f64;
        2.0 * (self.layers as f64 * layer + (self.vocab * self.width) as f64)
    }

    /// Bytes of keys and values of one position.
    pub(crate) fn kv_bytes(&self) -> usize {
        2 * 2 * self.heads.keys_values * self.heads.dim * self.layers
    }

    /// Multiplications and additions of a prompt.
    pub(crate) fn operations(&self, tokens: usize) -> f64 {
        let attention = self.width * self.heads.qkv_width() + self.heads.out_width() * self.width;
        let experts = self.router.chosen * 3 * self.width * self.inner;
        let products = 2 * (attention + self.width * self.router.experts + experts);
        let scores = 2 * tokens * self.heads.out_width();
        (self.layers * tokens) as f64 * (products + scores) as f64
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
    router: Matrix,
    gate_up: Experts,
    down: Experts,
    cache: Cache,
}

struct Scratch {
    residual: Buffer,
    normed: Buffer,
    qkv: Buffer,
    attended: Buffer,
    delta: Buffer,
    scores: Buffer,
    routes: Routes,
    gate_up: Buffer,
    gated: Buffer,
    outputs: Buffer,
    picked: Buffer,
    logits: Buffer,
}

impl Model {
    pub(crate) fn new(
        b: &mut CudaBackend,
        shape: Shape,
        rows: usize,
        tokens: usize,
    ) -> Result<Self, BackendError> {
        let blocks = rows * BLOCKS_EACH;
        let layers = (0..shape.layers as u64).map(|seed| Layer::new(b, shape, seed, blocks));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            shape,
            embedding: b.random_matrix(shape.vocab, shape.width, 1_000_000)?,
            head: b.random_matrix(shape.vocab, shape.width, 2_000_000)?,
            norm: b.vector(&vec![1.0; shape.width])?,
            head_norm: b.vector(&vec![1.0; shape.heads.dim])?,
            layers,
            scratch: Scratch::new(b, shape, rows, tokens)?,
            step: b.step(rows, tokens, blocks)?,
        })
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
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
            let draw = Draw { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 0 };
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
            self.mixture(b, layer);
        }
        self.head(b);
    }

    /// Runs the staged step, and says how many experts of a layer somebody chose, on average.
    pub(crate) fn distinct(&mut self, b: &mut CudaBackend) -> Result<f64, BackendError> {
        self.embed(b);
        let mut sum = 0;
        for layer in 0..self.layers.len() {
            self.attention(b, layer);
            self.mixture(b, layer);
            sum += self.scratch.routes.distinct()?;
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

    pub(crate) fn mixture(&mut self, b: &mut CudaBackend, layer: usize) {
        let router = self.shape.router;
        let Scratch { normed, scores, routes, gate_up, gated, outputs, delta, residual, .. } =
            &mut self.scratch;
        let weights = &self.layers[layer];
        b.linear(normed, &weights.router, None, scores);
        b.route(scores, router, routes);
        b.expert_linear(normed, ExpertInput::Positions, &weights.gate_up, routes, gate_up);
        b.gated(gate_up, Activation::Silu, gated);
        b.expert_linear(gated, ExpertInput::Choices, &weights.down, routes, outputs);
        b.combine(outputs, routes, delta);
        b.add_rms_norm(delta, residual, &self.norm, EPS, normed);
    }

    pub(crate) fn head(&mut self, b: &mut CudaBackend) {
        let Scratch { normed, picked, logits, .. } = &mut self.scratch;
        b.gather(normed, &self.step, picked);
        b.linear(picked, &self.head, None, logits);
        b.sample(logits, &self.step);
    }

    /// One operation of a layer, by its place in the layer; with its name, and the bytes of weights
    /// or keys and values that it reads. `None` past the last.
    pub(crate) fn operation(
        &mut self,
        b: &mut CudaBackend,
        layer: usize,
        which: usize,
    ) -> Option<&'static str> {
        let heads = self.shape.heads;
        let router = self.shape.router;
        let shape = AttentionShape { heads, scale: 0.1, window: None };
        let rope = Rope {
            pairs: RopePairs::Halves,
            frequencies: vec![0.1; heads.dim / 2],
            magnitude: 1.0,
        };
        let s = &mut self.scratch;
        let w = &mut self.layers[layer];
        let positions = ExpertInput::Positions;
        let choices = ExpertInput::Choices;
        match which {
            0 => b.linear(&s.normed, &w.qkv, None, &mut s.qkv),
            1 => b.head_rms_norm(&mut s.qkv, heads, &self.head_norm, &self.head_norm, EPS),
            2 => b.rope_and_store(&mut s.qkv, &self.step, heads, &rope, &mut w.cache),
            3 => b.attend(&s.qkv, &self.step, shape, &w.cache, &mut s.attended),
            4 => b.linear(&s.attended, &w.output, None, &mut s.delta),
            5 => b.add_rms_norm(&s.delta, &mut s.residual, &self.norm, EPS, &mut s.normed),
            6 => b.linear(&s.normed, &w.router, None, &mut s.scores),
            7 => b.route(&s.scores, router, &mut s.routes),
            8 => b.expert_linear(&s.normed, positions, &w.gate_up, &s.routes, &mut s.gate_up),
            9 => b.gated(&s.gate_up, Activation::Silu, &mut s.gated),
            10 => b.expert_linear(&s.gated, choices, &w.down, &s.routes, &mut s.outputs),
            11 => b.combine(&s.outputs, &s.routes, &mut s.delta),
            _ => return None,
        }
        Some(OPERATIONS[which])
    }
}

const OPERATIONS: [&str; 12] = [
    "qkv",
    "head norm",
    "rope",
    "attend",
    "output",
    "add norm",
    "router",
    "route",
    "gate, up",
    "gated",
    "down",
    "combine",
];

impl Layer {
    fn new(
        b: &mut CudaBackend,
        shape: Shape,
        seed: u64,
        num_blocks: usize,
    ) -> Result<Self, BackendError> {
        let Shape { width, heads, router, inner, .. } = shape;
        let cache = CacheShape {
            dtype: DType::F16,
            num_blocks,
            block_size: BLOCK_SIZE,
            heads: heads.keys_values,
            dim: heads.dim,
        };
        let seed = |which: u64| (seed * 8 + which) << 32;
        Ok(Self {
            qkv: b.random_matrix(heads.qkv_width(), width, seed(0))?,
            output: b.random_matrix(width, heads.out_width(), seed(1))?,
            router: b.random_matrix(router.experts, width, seed(2))?,
            gate_up: b.random_experts(router.experts, 2 * inner, width, seed(3))?,
            down: b.random_experts(router.experts, width, inner, seed(4))?,
            cache: b.cache(cache)?,
        })
    }
}

impl Scratch {
    fn new(
        b: &mut CudaBackend,
        shape: Shape,
        rows: usize,
        tokens: usize,
    ) -> Result<Self, BackendError> {
        let Shape { width, heads, router, inner, vocab, .. } = shape;
        let choices = tokens * router.chosen;
        Ok(Self {
            residual: b.buffer(tokens, width)?,
            normed: b.buffer(tokens, width)?,
            qkv: b.buffer(tokens, heads.qkv_width())?,
            attended: b.buffer(tokens, heads.out_width())?,
            delta: b.buffer(tokens, width)?,
            scores: b.buffer(tokens, router.experts)?,
            routes: b.routes(tokens, router)?,
            gate_up: b.buffer(choices, 2 * inner)?,
            gated: b.buffer(choices, inner)?,
            outputs: b.buffer(choices, width)?,
            picked: b.buffer(rows, width)?,
            logits: b.buffer(rows, vocab)?,
        })
    }
}
