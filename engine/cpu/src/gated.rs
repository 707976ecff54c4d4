//! The activation of a gated MLP (Shazeer, "GLU Variants Improve Transformer", 2020).

use engine_backend::Activation;

use crate::{
    buffer::Buffer,
    exp::exp,
    simd::{Chosen, Cuts, Kernel, LANES, Rect, Simd, Team, grid, run},
};

/// Rows of a task.
const ROWS_EACH: usize = 4;

/// `out = activation(gate) * up`, where a row of `gate_up` is first one, then the other.
pub(crate) fn gated(
    team: &Team,
    isa: Chosen,
    (gate_up, activation): (&Buffer, Activation),
    out: &mut Buffer,
) {
    let width = out.width();
    assert_eq!(gate_up.width(), 2 * width, "width of gate and up");
    out.set_rows(gate_up.rows());
    let rows = Cuts::Every { step: ROWS_EACH, total: gate_up.rows() };
    let cols = Cuts::Every { step: width.max(1), total: width };
    grid(team, out.values_mut(), width, rows, cols, &|out, _| match activation {
        Activation::Silu => run(isa, Silu { gate_up: gate_up.values(), out }),
    });
}

/// `x * sigmoid(x)` as the activation.
struct Silu<'a> {
    gate_up: &'a [f32],
    out: Rect<'a, f32>,
}

impl Kernel for Silu<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(mut self, s: S) {
        let width = self.out.cols();
        for i in 0..self.out.rows() {
            let row = &self.gate_up[2 * width * (self.out.row() + i)..][..2 * width];
            let (gate, up) = row.split_at(width);
            let (gates, gate) = gate.as_chunks::<LANES>();
            let (ups, up) = up.as_chunks::<LANES>();
            let (outs, out) = self.out.line(i).as_chunks_mut::<LANES>();
            for ((gate, up), out) in gates.iter().zip(ups).zip(outs) {
                silu(s, gate, up, out);
            }
            let (mut last_gate, mut last_up, mut last) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
            last_gate[..gate.len()].copy_from_slice(gate);
            last_up[..up.len()].copy_from_slice(up);
            silu(s, &last_gate, &last_up, &mut last);
            out.copy_from_slice(&last[..out.len()]);
        }
    }
}

#[inline(always)]
fn silu<S: Simd>(s: S, gate: &[f32; LANES], up: &[f32; LANES], out: &mut [f32; LANES]) {
    let gate = s.load(gate);
    let below = s.add(s.splat(1.0), exp(s, s.sub(s.zero(), gate)));
    s.store(s.mul(s.div(gate, below), s.load(up)), out);
}
