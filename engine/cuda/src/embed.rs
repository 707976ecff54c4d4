//! Rows picked from a table of embeddings, and from activations.
#![expect(unsafe_code, reason = "launches kernels")]

use crate::OpenError;
use crate::buffer::{Buffer, Element};
use crate::format::Format;
use crate::matrix::Matrix;
use crate::module::{Function, Modules};
use crate::queue::{Grid, Queue};
use crate::step::{DRAW_WORDS, Step};

/// The kernels.
pub(crate) struct Embeds {
    formats: Vec<Function>,
    gather: Function,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Embed {
    table: u64,
    tokens: u64,
    out: u64,
    scale: f32,
    width: i32,
    first: i32,
    rows: i32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Gather {
    x: u64,
    rows: u64,
    out: u64,
    stride: i32,
    row_bytes: i32,
}

impl Embeds {
    pub(crate) fn load(modules: &Modules<'_>) -> Result<Self, OpenError> {
        let of = |format: Format| modules.function("embed", &format!("embed_{}", format.name()));
        Ok(Self {
            formats: Format::ALL.into_iter().map(of).collect::<Result<_, _>>()?,
            gather: modules.function("embed", "gather")?,
        })
    }

    /// `out[t] = table[tokens[t]] * scale`.
    pub(crate) fn embed(
        &self,
        queue: &Queue,
        (table, step, scale): (&Matrix, &Step, f32),
        out: &mut Buffer,
    ) {
        let width = out.width();
        assert_eq!(table.inputs(), width, "width of an embedding");
        let tokens = step.counts().tokens;
        out.begin(tokens, Element::F32);
        for part in &table.parts {
            let params = Embed {
                table: part.memory.at(0),
                tokens: step.tokens(),
                out: out.pointer(),
                scale,
                width: width as i32,
                first: part.first as i32,
                rows: part.outputs as i32,
            };
            let kernel = self.formats[part.format as usize];
            // SAFETY: `out` has a row for each token; rows that the part hasn't are left out.
            unsafe { queue.launch(kernel, Grid::new((tokens, 1), 256), &params) };
        }
    }

    /// `out[s] = x[samples[s].token]`.
    pub(crate) fn gather(&self, queue: &Queue, x: &Buffer, step: &Step, out: &mut Buffer) {
        assert_eq!(out.width(), x.width(), "width of gathered rows");
        assert_eq!(x.rows(), step.counts().tokens, "a row for each position");
        let samples = step.counts().samples;
        out.begin(samples, x.element());
        let params = Gather {
            x: x.pointer(),
            rows: step.draws(),
            out: out.pointer(),
            stride: DRAW_WORDS as i32,
            row_bytes: (x.width() * x.element().bytes()) as i32,
        };
        // SAFETY: samples name rows of `x`, and `out` has a row for each.
        unsafe { queue.launch(self.gather, Grid::new((samples, 1), 256), &params) };
    }
}
