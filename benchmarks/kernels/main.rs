//! Times the operations of a small model's shapes, and says how they stand to the machine's limits.

#![expect(clippy::print_stdout, reason = "it prints a table")]

use std::time::Instant;

use engine_backend::{
    AttentionShape, Backend, BackendError, CacheShape, DType, Heads, Rope, RopePairs, Span,
    StepLayout, Tensor,
};
use engine_cpu::{Buffer, CpuBackend, Limits, isa, limits};

/// Inputs and outputs of the products of a layer of 576, and of its vocabulary.
const SHAPES: [(&str, usize, usize); 5] = [
    ("qkv", 576, 960),
    ("out", 576, 576),
    ("gate_up", 576, 3072),
    ("down", 1536, 576),
    ("vocab", 576, 49152),
];
const ROWS: [usize; 6] = [1, 4, 8, 16, 64, 512];
/// Copies of a weight are used in turn until they are this large together: more than any cache.
const BYTES_MIN: usize = 192 << 20;

const DTYPES: [DType; 15] = [
    DType::Q4_1,
    DType::Q8_0,
    DType::Q6K,
    DType::F16,
    DType::F32,
    DType::Iq4Nl,
    DType::Iq4Xs,
    DType::Mxfp4,
    DType::Q2K,
    DType::Q3K,
    DType::Q4_0,
    DType::Q4K,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q5K,
];

fn main() -> Result<(), BackendError> {
    let threads = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(0);
    let only = std::env::args().nth(2);
    let mut backend = CpuBackend::new(threads);
    let limits = limits(backend.threads(), isa())?.expect("the machine has what was found");
    println!(
        "{}, {} threads: reads {:.1} GB/s, {:.0} GOP/s of bytes",
        isa(),
        backend.threads(),
        limits.bytes / 1e9,
        2.0 * limits.products / 1e9
    );
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    for dtype in DTYPES {
        for (name, inputs, outputs) in SHAPES {
            let whole = inputs.is_multiple_of(dtype.block_elements());
            // Large tables in floats would only take long to make.
            let small = outputs < 10_000 || matches!(dtype, DType::Q8_0 | DType::Q4_1);
            let label = format!("{dtype:?} {name}");
            if whole && small && wanted(&label) {
                product(&mut backend, &limits, &label, dtype, (inputs, outputs))?;
            }
        }
    }
    if wanted("attention") {
        attention(&mut backend)?;
    }
    Ok(())
}

/// Seconds of one call: the least of many short runs, so that what else the machine does hardly
/// shows.
fn time(mut f: impl FnMut()) -> f64 {
    const RUN: f64 = 1e-3;
    const ALL: f64 = 0.4;
    let run = |f: &mut dyn FnMut(), calls: usize| {
        let start = Instant::now();
        (0..calls).for_each(|_| f());
        start.elapsed().as_secs_f64()
    };
    run(&mut f, 1);
    let calls = (RUN / run(&mut f, 1).max(1e-7)).ceil().max(1.0);
    let start = Instant::now();
    let mut least = f64::INFINITY;
    while start.elapsed().as_secs_f64() < ALL {
        least = least.min(run(&mut f, calls as usize) / calls);
    }
    least
}

fn product(
    backend: &mut CpuBackend,
    limits: &Limits,
    label: &str,
    dtype: DType,
    (inputs, outputs): (usize, usize),
) -> Result<(), BackendError> {
    let bytes = bytes(dtype, outputs, inputs);
    let tensor = Tensor { dtype, rows: outputs, cols: inputs, bytes: &bytes };
    let copies = BYTES_MIN.div_ceil(bytes.len());
    let weights: Vec<_> =
        (0..copies).map(|_| backend.matrix(&[tensor])).collect::<Result<_, _>>()?;
    for rows in ROWS {
        // All logits at once are never computed.
        if rows > 64 && outputs > 10_000 {
            continue;
        }
        let x = filled(backend, rows, inputs)?;
        let mut out = backend.buffer(rows, outputs)?;
        let mut weights = weights.iter().cycle();
        let seconds = time(|| {
            let weight = weights.next().expect("a cycle has no end");
            backend.linear(&x, weight, None, &mut out);
        });
        let rate = bytes.len() as f64 / seconds;
        let products = (rows * inputs * outputs) as f64 / seconds;
        println!(
            "{label:14} {rows:4} rows {:9.1} us {:6.1} GB/s ({:3.0} %) {:7.1} GOP/s ({:3.0} %)",
            seconds * 1e6,
            rate / 1e9,
            100.0 * rate / limits.bytes,
            2.0 * products / 1e9,
            100.0 * products / limits.products,
        );
    }
    Ok(())
}

/// Bytes of some weights: small scales, any codes.
fn bytes(dtype: DType, rows: usize, cols: usize) -> Vec<u8> {
    let len = rows * dtype.row_bytes(cols).expect("whole blocks");
    (0..len).map(|i| (i as u8).wrapping_mul(29) % 0x1c).collect()
}

fn filled(backend: &mut CpuBackend, rows: usize, width: usize) -> Result<Buffer, BackendError> {
    let mut buffer = backend.buffer(rows, width)?;
    buffer.set_rows(rows);
    let values = buffer.values_mut().iter_mut().enumerate();
    values.for_each(|(i, x)| *x = (i * 7919 % 2001) as f32 / 1000.0 - 1.0);
    Ok(buffer)
}

/// Attention with what comes before it: sequences of so many positions, of which so many are
/// computed.
fn attention(backend: &mut CpuBackend) -> Result<(), BackendError> {
    const BLOCK: usize = 16;
    let heads = Heads { queries: 9, keys_values: 3, dim: 64 };
    let frequencies = (0..32).map(|i| 10_000_f32.powf(-i as f32 / 32.0)).collect();
    let rope = Rope { pairs: RopePairs::Neighbours, frequencies, magnitude: 1.0 };
    for (sequences, context, len) in
        [(1, 128, 1), (1, 1024, 1), (16, 128, 1), (16, 1024, 1), (1, 512, 512), (1, 1024, 512)]
    {
        let each = context / BLOCK;
        let num_blocks = sequences * each;
        let shape = CacheShape {
            dtype: DType::F16,
            num_blocks,
            block_size: BLOCK,
            heads: heads.keys_values,
            dim: heads.dim,
        };
        let mut cache = backend.cache(shape)?;
        let mut layout = StepLayout::default();
        for sequence in 0..sequences {
            let start = context - len;
            layout.spans.push(Span {
                tokens: sequence * len..(sequence + 1) * len,
                start,
                blocks: sequence * each..(sequence + 1) * each,
            });
            layout.blocks.extend((sequence * each..(sequence + 1) * each).map(|i| i as u32));
            for position in start..context {
                layout.tokens.push(0);
                layout.positions.push(position as u32);
                layout.slots.push((sequence * context + position) as u32);
            }
        }
        let tokens = sequences * len;
        let mut step = backend.step(sequences, tokens, num_blocks)?;
        backend.stage(&layout, &mut step);
        let mut qkv = filled(backend, tokens, heads.qkv_width())?;
        let mut out = backend.buffer(tokens, heads.out_width())?;
        let store = time(|| backend.rope_and_store(&mut qkv, &step, heads, &rope, &mut cache));
        let shape = AttentionShape { heads, scale: 0.125, window: None };
        let attend = time(|| backend.attend(&qkv, &step, shape, &cache, &mut out));
        println!(
            "attention      {sequences:4} x {len:4} of {context:5}: store {:8.1} us, attend {:9.1} us",
            store * 1e6,
            attend * 1e6
        );
    }
    Ok(())
}
