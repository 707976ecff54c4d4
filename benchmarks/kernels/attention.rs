//! Attention, with what comes before it.

use std::num::NonZero;

use engine_backend::{
    AttentionShape, Backend, BackendError, CacheShape, DType, Heads, Rope, RopePairs, Span,
    StepLayout,
};
use engine_cpu::CpuBackend;

use crate::measure::{filled, time};

/// Sequences, their positions, of which so many are computed, and the window.
const CASES: [(usize, usize, usize, Option<usize>); 8] = [
    (1, 128, 1, None),
    (1, 1024, 1, None),
    (16, 128, 1, None),
    (16, 1024, 1, None),
    (1, 512, 512, None),
    (1, 1024, 512, None),
    (16, 1024, 1, Some(128)),
    (1, 1024, 512, Some(128)),
];

/// Attention with what comes before it: sequences of so many positions, of which so many are
/// computed.
pub(crate) fn attention(backend: &mut CpuBackend) -> Result<(), BackendError> {
    const BLOCK: usize = 16;
    let heads = Heads { queries: 9, keys_values: 3, dim: 64 };
    let frequencies = (0..32).map(|i| 10_000_f32.powf(-i as f32 / 32.0)).collect();
    let rope = Rope { pairs: RopePairs::Neighbours, frequencies, magnitude: 1.0 };
    for (sequences, context, len, window) in CASES {
        let each = context / BLOCK;
        let num_blocks = sequences * each;
        let mut cache = backend.cache(CacheShape {
            dtype: DType::F16,
            num_blocks,
            block_size: BLOCK,
            heads: heads.keys_values,
            dim: heads.dim,
        })?;
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
        let mut step = backend.step(sequences, tokens, num_blocks, 1)?;
        backend.stage(&layout, &mut step);
        let mut qkv = filled(backend, tokens, heads.qkv_width())?;
        let mut out = backend.buffer(tokens, heads.out_width())?;
        let shape = AttentionShape { heads, scale: 0.125, window: window.and_then(NonZero::new) };
        let store = time(|| backend.rope_and_store(&mut qkv, &step, heads, &rope, &mut cache));
        let attend = time(|| backend.attend(&qkv, &step, shape, &cache, &mut out));
        println!(
            "attention      {sequences:4} x {len:4} of {context:5}{}: store {:8.1} us, attend {:9.1} us",
            window.map_or_else(String::new, |window| format!(" within {window}")),
            store * 1e6,
            attend * 1e6
        );
    }
    Ok(())
}
