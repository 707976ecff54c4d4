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
        Activation::Gelu => run(isa, Gated { gate_up: gate_up.values(), activation: Gelu, out }),
        Activation::Silu => run(isa, Gated { gate_up: gate_up.values(), activation: Silu, out }),
    });
}

/// An activation.
trait Function {
    fn of<S: Simd>(&self, s: S, x: S::F) -> S::F;
}

/// `x * sigmoid(x)`.
struct Silu;

impl Function for Silu {
    #[inline(always)]
    fn of<S: Simd>(&self, s: S, x: S::F) -> S::F {
        over_one_and_exp(s, x, s.sub(s.zero(), x))
    }
}

/// `x / 2 * (1 + tanh(u))`, which is `x * sigmoid(2 u)`, where `u = sqrt(2 / pi) * (x + 0.044715
/// x^3)`.
struct Gelu;

impl Function for Gelu {
    #[inline(always)]
    fn of<S: Simd>(&self, s: S, x: S::F) -> S::F {
        // `-2 sqrt(2 / pi)`, and that by 0.044715.
        let (linear, cubic) = (s.splat(-1.595_769), s.splat(-0.071_354_814));
        let factor = s.fma(s.mul(x, x), cubic, linear);
        over_one_and_exp(s, x, s.mul(x, factor))
    }
}

/// `x / (1 + e^y)`.
#[inline(always)]
fn over_one_and_exp<S: Simd>(s: S, x: S::F, y: S::F) -> S::F {
    s.div(x, s.add(s.splat(1.0), exp(s, y)))
}

/// Activates some rows.
struct Gated<'a, A> {
    gate_up: &'a [f32],
    activation: A,
    out: Rect<'a, f32>,
}

impl<A: Function> Kernel for Gated<'_, A> {
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
                s.store(s.mul(self.activation.of(s, s.load(gate)), s.load(up)), out);
            }
            let (mut last_gate, mut last_up, mut last) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
            last_gate[..gate.len()].copy_from_slice(gate);
            last_up[..up.len()].copy_from_slice(up);
            s.store(s.mul(self.activation.of(s, s.load(&last_gate)), s.load(&last_up)), &mut last);
            out.copy_from_slice(&last[..out.len()]);
        }
    }
}
