//! What experts gave, added up for each position.

use crate::{
    buffer::Buffer,
    exp::exp_of,
    route::{Choice, Routes},
    simd::{Chosen, Cuts, Kernel, Rect, Simd, Team, grid, run},
};

/// Rows of a task.
const ROWS_EACH: usize = 8;

/// `out[t] = sum of weight[c] * x[c]` over the choices of position `t` that the rank computes.
pub(crate) fn combine(team: &Team, isa: Chosen, (x, routes): (&Buffer, &Routes), out: &mut Buffer) {
    let width = out.width();
    assert_eq!(x.width(), width, "width of what experts gave");
    assert_eq!(x.rows(), routes.positions().len(), "a row for each choice");
    let rows = routes.num_positions();
    out.set_rows(rows);
    let rows = Cuts::Every { step: ROWS_EACH, total: rows };
    let all = Cuts::Every { step: width.max(1), total: width };
    grid(team, out.values_mut(), width, rows, all, &|out, _| {
        run(isa, Combine { x: x.values(), routes, out });
    });
}

/// Sums up what some positions were given.
struct Combine<'a> {
    x: &'a [f32],
    routes: &'a Routes,
    out: Rect<'a, f32>,
}

impl Kernel for Combine<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(mut self, _: S) {
        let width = self.out.cols();
        for i in 0..self.out.rows() {
            let choices = self.routes.of(self.out.row() + i);
            let out = self.out.line(i);
            out.fill(0.0);
            for choice in choices.iter().filter(|choice| choice.row != Choice::ELSEWHERE) {
                let x = &self.x[choice.row as usize * width..][..width];
                out.iter_mut().zip(x).for_each(|(out, x)| *out += choice.weight * x);
            }
        }
    }
}

/// `out[t] += x[t] * sigmoid(gate[t])`.
pub(crate) fn add_gated(team: &Team, isa: Chosen, (x, gate): (&Buffer, &Buffer), out: &mut Buffer) {
    let width = out.width();
    assert_eq!((x.rows(), x.width()), (out.rows(), width), "shape of what is added");
    assert_eq!((gate.rows(), gate.width()), (out.rows(), 1), "a gate for each position");
    let rows = Cuts::Every { step: ROWS_EACH, total: out.rows() };
    let all = Cuts::Every { step: width.max(1), total: width };
    grid(team, out.values_mut(), width, rows, all, &|out, _| {
        run(isa, AddGated { x: x.values(), gate: gate.values(), out });
    });
}

/// Adds some rows.
struct AddGated<'a> {
    x: &'a [f32],
    gate: &'a [f32],
    out: Rect<'a, f32>,
}

impl Kernel for AddGated<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(mut self, s: S) {
        let width = self.out.cols();
        for i in 0..self.out.rows() {
            let row = self.out.row() + i;
            let factor = 1.0 / (1.0 + exp_of(s, -self.gate[row]));
            let x = &self.x[row * width..][..width];
            self.out.line(i).iter_mut().zip(x).for_each(|(out, x)| *out += x * factor);
        }
    }
}
