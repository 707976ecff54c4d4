//! Rows picked from a table of embeddings, and from activations.

use engine_backend::StepLayout;

use crate::{
    buffer::Buffer,
    matrix::Matrix,
    simd::{Cuts, Team, grid},
};

/// Rows of a task.
const ROWS_EACH: usize = 8;

/// `out[t] = table[tokens[t]] * scale`.
pub(crate) fn embed(team: &Team, (table, tokens, scale): (&Matrix, &[u32], f32), out: &mut Buffer) {
    let width = out.width();
    assert_eq!(table.inputs(), width, "width of an embedding");
    out.set_rows(tokens.len());
    let rows = Cuts::Every { step: ROWS_EACH, total: tokens.len() };
    let all = Cuts::Every { step: width.max(1), total: width };
    grid(team, out.values_mut(), width, rows, all, &|mut out, _| {
        for i in 0..out.rows() {
            let token = tokens[out.row() + i];
            let out = out.line(i);
            table.output(token as usize, out);
            if scale != 1.0 {
                out.iter_mut().for_each(|x| *x *= scale);
            }
        }
    });
}

/// The input tokens of a step, inherited ones taken from `seats`.
pub(crate) fn resolve(layout: &StepLayout, seats: &[u32], tokens: &mut Vec<u32>) {
    tokens.clone_from(&layout.tokens);
    for inherit in &layout.inherits {
        tokens[inherit.token] = seats[inherit.seat];
    }
}

/// `out[s] = x[samples[s].token]`.
pub(crate) fn gather(x: &Buffer, layout: &StepLayout, out: &mut Buffer) {
    let width = x.width();
    assert_eq!(out.width(), width, "width of gathered rows");
    out.set_rows(layout.samples.len());
    for (sample, out) in layout.samples.iter().zip(out.values_mut().chunks_exact_mut(width)) {
        out.copy_from_slice(&x.values()[sample.token * width..][..width]);
    }
}
