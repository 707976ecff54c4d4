//! `out = x weight^T + bias`, row by row.
#![expect(unsafe_code, reason = "launches kernels")]

use crate::OpenError;
use crate::buffer::{Buffer, Element, Vector};
use crate::job::{Job, Products, Shape, slice};
use crate::matrix::Matrix;
use crate::module::Modules;
use crate::queue::Queue;

/// The kernels.
pub(crate) struct Linear(Products);

impl Linear {
    pub(crate) fn load(modules: &Modules<'_>) -> Result<Self, OpenError> {
        Products::load(modules, "linear").map(Self)
    }

    pub(crate) fn launch(
        &self,
        queue: &Queue,
        (x, weight, bias): (&Buffer, &Matrix, Option<&Vector>),
        out: &mut Buffer,
    ) {
        let Matrix { outputs, inputs, .. } = *weight;
        assert_eq!(x.width(), inputs, "inputs of a product");
        assert_eq!(out.width(), outputs, "outputs of a product");
        assert!(bias.is_none_or(|bias| bias.length() == outputs), "a bias for each output");
        out.begin(x.rows(), Element::F32);
        let shape = Shape::of(x.rows(), inputs);
        for part in &weight.parts {
            let job = Job {
                weight: part.memory.at(0),
                x: x.held(Element::Bf16),
                rows: 0,
                out: out.pointer() + 4 * part.first as u64,
                bias: bias.map_or(0, |bias| bias.pointer() + 4 * part.first as u64),
                first: 0,
                count: x.rows() as i32,
                inputs: inputs as i32,
                outputs: part.outputs as i32,
                width: outputs as i32,
                slice: slice(inputs) as i32,
            };
            let mut grid = shape.grid(part.format, part.outputs, inputs);
            // Groups of rows that read the same weight are neighbours.
            grid.blocks = (x.rows().div_ceil(shape.rows()), grid.blocks.0);
            // SAFETY: `x` and `out` have a row for each of `count`, as wide as the weight, whose
            // memory covers its outputs' units.
            unsafe { queue.launch(self.0.get(part.format, shape), grid, &job) };
        }
    }
}
