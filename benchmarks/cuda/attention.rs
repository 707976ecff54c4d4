//! Attention by itself, with the rotation before it: lone positions beside the bytes of their keys
//! and values, spans beside their operations. Layers follow one another in a graph, each with a
//! cache of its own, so that little is found in the device's caches.

use engine_backend::{
    AttentionShape, Backend, BackendError, CacheShape, DType, Heads, Rope, RopePairs, Span,
    StepLayout,
};
use engine_cuda::{Buffer, Cache, CudaBackend, Element, Step, Vector};

use crate::{BANDWIDTH, time};

const HEADS: Heads = Heads { queries: 32, keys_values: 4, dim: 128 };
const BLOCK_SIZE: usize = 16;
/// Positions that are brought to the caches at a time.
const AT_ONCE: usize = 8192;
/// Bytes of all layers' keys and values, and the most layers.
const BYTES: usize = 400 << 20;
const LAYERS_MAX: usize = 48;
/// Rows, and positions that each has behind it.
const LONE: [(usize, usize); 14] = [
    (1, 256),
    (1, 1024),
    (1, 4096),
    (1, 8192),
    (1, 32_767),
    (4, 256),
    (16, 256),
    (16, 2048),
    (16, 8192),
    (64, 256),
    (64, 2048),
    (128, 256),
    (256, 256),
    (256, 1000),
];
/// Prompts, their positions, and how many of them come in this step, the last.
const SPANS: [(usize, usize, usize); 6] = [
    (1, 512, 512),
    (1, 2048, 2048),
    (1, 8192, 8192),
    (16, 1024, 1024),
    (1, 8192, 512),
    (4, 2048, 64),
];

/// The layers of attention, and the step that is staged.
struct Layers {
    caches: Vec<Cache>,
    step: Step,
    qkv: Buffer,
    out: Buffer,
    norm: Vector,
    rope: Rope,
}

/// Prints both tables.
pub(crate) fn run(b: &mut CudaBackend) -> Result<(), BackendError> {
    spans(b)?;
    lone(b)
}

/// Prompts, as they are and after others.
fn spans(b: &mut CudaBackend) -> Result<(), BackendError> {
    println!("\nrotation and attention of spans");
    println!("prompts  positions  of them        us  TFLOP/s");
    for (count, positions, last) in SPANS {
        let spans = vec![(positions - last, last); count];
        let seconds = one(b, &spans)?;
        let seen = last * (positions - last) + last * (last + 1) / 2;
        let operations = (4 * count * seen * HEADS.out_width()) as f64;
        println!(
            "{count:7}  {positions:9}  {last:7}  {:8.1}  {:7.1}",
            seconds * 1e6,
            operations / seconds / 1e12
        );
    }
    Ok(())
}

/// Positions that are alone in their span.
fn lone(b: &mut CudaBackend) -> Result<(), BackendError> {
    println!("\nrotation and attention of lone positions");
    println!(" rows  context  limit us        us   share");
    for (rows, context) in LONE {
        let spans = vec![(context, 1); rows];
        let seconds = one(b, &spans)?;
        let limit = bytes(&spans) as f64 / BANDWIDTH;
        println!(
            "{rows:5}  {context:7}  {:8.2}  {:8.2}  {:5.1}%",
            limit * 1e6,
            seconds * 1e6,
            limit / seconds * 100.0
        );
    }
    Ok(())
}

/// Seconds of a layer.
fn one(b: &mut CudaBackend, spans: &[(usize, usize)]) -> Result<f64, BackendError> {
    let mut layers = Layers::new(b, spans)?;
    layers.fill(b, spans)?;
    b.stage(&layout(spans, spans), &mut layers.step);
    let rows = spans.iter().map(|(_, count)| count).sum();
    layers.bring(b, rows)?;
    let graph = b.capture(|b| layers.attend(b))?;
    let seconds = time(b, 10, |b| b.replay(&graph))?;
    Ok(seconds / layers.caches.len() as f64)
}

/// Bytes of all keys and values of a layer.
fn bytes(spans: &[(usize, usize)]) -> usize {
    let positions: usize = spans.iter().map(|(start, count)| start + count).sum();
    positions * HEADS.keys_values * HEADS.dim * 2 * size_of::<u16>()
}

impl Layers {
    fn new(b: &mut CudaBackend, spans: &[(usize, usize)]) -> Result<Self, BackendError> {
        let count = (BYTES / bytes(spans)).clamp(2, LAYERS_MAX);
        let num_blocks =
            spans.iter().map(|(start, count)| (start + count).div_ceil(BLOCK_SIZE)).sum();
        let shape = CacheShape {
            dtype: DType::F16,
            num_blocks,
            block_size: BLOCK_SIZE,
            heads: HEADS.keys_values,
            dim: HEADS.dim,
        };
        let caches = (0..count).map(|_| b.cache(shape)).collect::<Result<_, _>>()?;
        let tokens = spans.iter().map(|(_, count)| count).sum::<usize>().max(AT_ONCE);
        let frequency = |pair: usize| 1e6_f32.powf(-2.0 * pair as f32 / HEADS.dim as f32);
        Ok(Self {
            caches,
            step: b.step(spans.len().max(AT_ONCE), tokens, num_blocks, 1)?,
            qkv: b.buffer(tokens, HEADS.qkv_width())?,
            out: b.buffer(tokens, HEADS.out_width())?,
            norm: b.vector(&vec![1.0; HEADS.dim])?,
            rope: Rope {
                pairs: RopePairs::Halves,
                frequencies: (0..HEADS.dim / 2).map(frequency).collect(),
                magnitude: 1.0,
            },
        })
    }

    /// Brings numbers of chance as projections of so many rows.
    fn bring(&mut self, b: &CudaBackend, rows: usize) -> Result<(), BackendError> {
        let mut state = 1_u32;
        let mut number = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let values: Vec<_> = (0..rows * HEADS.qkv_width()).map(|_| number()).collect();
        b.write(&mut self.qkv, rows, Element::F32, &values)
    }

    /// Fills the caches with what spans have behind them.
    fn fill(&mut self, b: &mut CudaBackend, spans: &[(usize, usize)]) -> Result<(), BackendError> {
        let most = spans.iter().map(|(start, _)| *start).max().unwrap_or(0);
        let each = (AT_ONCE / spans.len()).max(1);
        for begin in (0..most).step_by(each) {
            let some: Vec<_> = spans
                .iter()
                .map(|(start, _)| (begin.min(*start), each.min(start.saturating_sub(begin))))
                .collect();
            let rows = some.iter().map(|(_, count)| count).sum();
            b.stage(&layout(&some, spans), &mut self.step);
            self.bring(b, rows)?;
            for cache in &mut self.caches {
                b.rope_and_store(&mut self.qkv, &self.step, HEADS, &self.rope, cache);
            }
            b.finish()?;
        }
        Ok(())
    }

    fn attend(&mut self, b: &mut CudaBackend) {
        let scale = (HEADS.dim as f32).powf(-0.5);
        let shape = AttentionShape { heads: HEADS, scale, window: None };
        for cache in &mut self.caches {
            b.head_rms_norm(&mut self.qkv, HEADS, &self.norm, &self.norm, 1e-6);
            b.rope_and_store(&mut self.qkv, &self.step, HEADS, &self.rope, cache);
            b.attend(&self.qkv, &self.step, shape, cache, &mut self.out);
        }
    }
}

/// Spans `some` of rows whose blocks are enough for `all`, in no order.
fn layout(some: &[(usize, usize)], all: &[(usize, usize)]) -> StepLayout {
    let mut layout = StepLayout::default();
    let needed = all.iter().map(|(start, count)| (start + count).div_ceil(BLOCK_SIZE)).max();
    for (row, &(start, count)) in some.iter().enumerate().filter(|(_, (_, count))| *count > 0) {
        let (first, from) = (layout.tokens.len(), layout.blocks.len());
        let blocks = (0..needed.unwrap_or(0)).map(|i| (i * some.len() + row) as u32);
        layout.blocks.extend(blocks);
        for position in start..start + count {
            layout.tokens.push(0);
            layout.positions.push(position as u32);
            let block = layout.blocks[from + position / BLOCK_SIZE] as usize;
            layout.slots.push((block * BLOCK_SIZE + position % BLOCK_SIZE) as u32);
        }
        let (tokens, blocks) = (first..layout.tokens.len(), from..layout.blocks.len());
        layout.spans.push(Span { tokens, start, blocks });
    }
    layout
}
