//! The logits after given texts, whatever the engine itself would have drawn.

use std::sync::Arc;

use engine::{BackendExecutor, RankedExecutor};
use engine_backend::Backend;
use engine_contract::{
    BlockId, Executor, Row, RowTokens, Sampling, SeatId, SequenceId, StepId, StepPlan, Stop,
    TableChange, TokenId,
};

/// A text, and how much of it is computed at once before the rest follows token by token.
pub(crate) struct Text {
    pub(crate) tokens: Vec<u32>,
    pub(crate) first: usize,
}

/// An executor that lets its logits be seen.
pub(crate) trait Observed: Executor {
    type Buffer;

    fn logits(&self) -> &Self::Buffer;
}

impl<B: Backend> Observed for BackendExecutor<B> {
    type Buffer = B::Buffer;

    fn logits(&self) -> &B::Buffer {
        self.logits()
    }
}

impl<B: Backend> Observed for RankedExecutor<B> {
    type Buffer = B::Buffer;

    fn logits(&self) -> &B::Buffer {
        self.logits()
    }
}

/// For each text, the logits after its first tokens and after every further one. The texts share
/// steps.
pub(crate) fn logits<E: Observed>(
    engine: &mut E,
    texts: &[Text],
    values: fn(&E::Buffer) -> &[f32],
) -> Vec<Vec<Vec<f32>>> {
    let vocab = engine.info().vocab as usize;
    let mut out = vec![Vec::new(); texts.len()];
    each(engine, texts, |ids, buffer| {
        let all = values(buffer).chunks_exact(vocab);
        assert_eq!(all.len(), ids.len());
        for (id, logits) in ids.iter().zip(all) {
            out[*id].push(logits.to_vec());
        }
    });
    out
}

/// Hands over each step's logits, and the texts that they are of.
pub(crate) fn each<E: Observed>(
    engine: &mut E,
    texts: &[Text],
    mut take: impl FnMut(&[usize], &E::Buffer),
) {
    let block_size = engine.info().block_size as usize;
    let steps = texts.iter().map(|text| text.tokens.len() - text.first).max().unwrap_or_default();
    for step in 0..=steps {
        let rows = rows(texts, step, block_size);
        let ids: Vec<_> = rows.iter().map(|row| row.sequence.0 as usize).collect();
        let plan = StepPlan { step: StepId(step as u64), rows, stop: Stop::Empty };
        engine.launch(plan).expect("a working engine").wait().expect("a working engine");
        take(&ids, Observed::logits(engine));
    }
}

/// The rows of the n-th step: every text that goes on for so long.
fn rows(texts: &[Text], step: usize, block_size: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut first_block = 0;
    for (id, text) in (0..).zip(texts) {
        let blocks = first_block..first_block + text.tokens.len().div_ceil(block_size) as u32;
        first_block = blocks.end;
        let end = text.first + step;
        if end > text.tokens.len() {
            continue;
        }
        let (start, table) = if step == 0 {
            (0, TableChange::Fresh(blocks.map(BlockId).collect()))
        } else {
            (end - 1, TableChange::Extend(Vec::new()))
        };
        let tokens: Arc<[_]> = text.tokens.iter().copied().map(TokenId).collect();
        rows.push(Row {
            sequence: SequenceId(id),
            seat: SeatId(id as u32),
            start: start as u32,
            tokens: RowTokens::Host(tokens, start..end),
            table,
            sample: Some(Arc::new(Sampling::GREEDY)),
            num_prompt: text.first as u32,
        });
    }
    rows
}

/// The token that would be drawn.
pub(crate) fn largest(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    best.expect("a vocabulary") as u32
}
