//! `out = x weight^T + bias`, row by row.
#![expect(unsafe_code, reason = "launches kernels")]

use crate::buffer::{Buffer, Vector};
use crate::job::{Job, Products, Shape, begin, slices};
use crate::matrix::Matrix;
use crate::memory::Memory;
use crate::module::Modules;
use crate::queue::Queue;
use crate::{DeviceInfo, OpenError, pipelined, skinny};

/// Bytes for the sums of slices that several blocks compute.
const SUMS_BYTES: usize = 64 << 20;
/// Tiles of a grid whose slices are shared out.
const TILES_MAX: usize = 4096;

/// The kernels, and room for what blocks leave for each other.
pub(crate) struct Linear {
    products: Products,
    sums: Memory,
    arrivals: Memory,
    multiprocessors: usize,
    shared_bytes: usize,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Product {
    job: Job,
    sums: u64,
    arrivals: u64,
}

impl Linear {
    pub(crate) fn load(
        modules: &Modules<'_>,
        queue: &Queue,
        info: &DeviceInfo,
    ) -> Result<Self, OpenError> {
        let room = |bytes| Memory::new(queue.context(), bytes).map_err(OpenError::from_backend);
        let arrivals = room(4 * TILES_MAX)?;
        queue.fill_with(&arrivals, 0).map_err(OpenError::from_backend)?;
        Ok(Self {
            products: Products::load(modules, "linear", info)?,
            sums: room(if pipelined::are_for(info) { 0 } else { SUMS_BYTES })?,
            arrivals,
            multiprocessors: info.multiprocessors,
            shared_bytes: info.shared_bytes,
        })
    }

    /// Among how many blocks the slices of a tile are shared out: enough that all multiprocessors
    /// have something to do, if there is room for the sums.
    fn shares(&self, shape: Shape, tiles: usize, inputs: usize) -> usize {
        let Shape::Tiled(rows) = shape else { return 1 };
        let slices = slices(inputs);
        let bytes = tiles * slices * rows * shape.outputs() * size_of::<f32>();
        if bytes > SUMS_BYTES || tiles > TILES_MAX {
            return 1;
        }
        // Two blocks of the largest shape have no room beside each other.
        let each = if rows > 64 { 1 } else { 2 };
        (each * self.multiprocessors).div_ceil(tiles).min(slices)
    }

    /// Whether so many rows are more than a few.
    pub(crate) fn tiles(&self, rows: usize, inputs: usize) -> bool {
        Shape::of(rows, inputs, self.shared_bytes) != Shape::Skinny
    }

    pub(crate) fn launch(
        &self,
        queue: &Queue,
        (x, weight, bias): (&Buffer, &Matrix, Option<&Vector>),
        out: &mut Buffer,
    ) {
        let inputs = weight.inputs;
        begin((x, weight, bias), out);
        let shape = Shape::of(x.rows(), inputs, self.shared_bytes);
        for part in &weight.parts {
            let job = Job::of_rows(part, (x, weight, bias), out);
            let params = Product { job, sums: self.sums.at(0), arrivals: self.arrivals.at(0) };
            let mut grid = shape.grid(part.format, part.outputs, inputs);
            // Groups of rows that read the same weight are neighbours.
            let (groups, tiles) = (x.rows().div_ceil(shape.rows()), grid.blocks.0);
            grid.blocks = (groups, tiles, self.shares(shape, groups * tiles, inputs));
            if shape == Shape::Skinny {
                grid.shared = skinny::streamed_bytes(inputs, x.rows(), 1);
            }
            // SAFETY: `x` and `out` have a row for each of `count`, as wide as the weight, whose
            // memory covers its outputs' units; sums and arrivals have room for every tile.
            unsafe { queue.launch(self.products.get(part.format, shape), grid, &params) };
        }
    }
}
