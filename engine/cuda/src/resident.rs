//! Products of at most eight rows with a weight whose tiles lie in shared memory as a whole, with
//! what comes before and after on the way: the norm of their rows, and the sum with a residual.
#![expect(unsafe_code, reason = "launches kernels")]

use crate::buffer::{Buffer, Element, Vector};
use crate::format::{Format, UNIT_OUTPUTS};
use crate::job::{Instances, Job, slices};
use crate::matrix::{Matrix, Part};
use crate::module::{Function, Modules};
use crate::norm::Normed;
use crate::queue::{Grid, Queue};
use crate::{DeviceInfo, OpenError, skinny};

/// Bytes of shared memory that a block takes besides its own.
const SHARED_SPARE: usize = 1 << 10;
/// Most parts of a weight.
const PARTS_MAX: usize = 3;

/// The kernels.
pub(crate) struct Residents {
    plain: Instances,
    normed: Instances,
    multiprocessors: usize,
    shared_bytes: usize,
}

/// A product that is put off until it is known what comes after.
pub(crate) struct Few {
    parts: [Option<(Function, Grid, Params)>; PARTS_MAX],
    out: u64,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Params {
    job: Job,
    normed: Normed,
    residual: u64,
}

impl Residents {
    pub(crate) fn load(modules: &Modules<'_>, info: &DeviceInfo) -> Result<Self, OpenError> {
        Ok(Self {
            plain: Instances::load(modules, "resident", "resident")?,
            normed: Instances::load(modules, "resident", "resident_normed")?,
            multiprocessors: info.multiprocessors,
            shared_bytes: info.shared_bytes,
        })
    }

    /// Bytes of a block's shared memory, if all tiles of a part are there at the same time: then
    /// all are fetched before the product begins.
    fn shared(
        &self,
        (format, outputs, inputs): (Format, usize, usize),
        rows: usize,
    ) -> Option<usize> {
        let bytes = skinny::resident_bytes(format, inputs, rows);
        let beside = self.shared_bytes / (bytes + SHARED_SPARE);
        let tiles = outputs.div_ceil(UNIT_OUTPUTS);
        (tiles <= beside * self.multiprocessors).then_some(bytes)
    }

    /// Whether there are kernels for so many rows.
    pub(crate) fn take(&self, weight: &Matrix, rows: usize) -> bool {
        let fits =
            |part: &Part| self.shared((part.format, part.outputs, weight.inputs), rows).is_some();
        (1..=skinny::ROWS_MAX).contains(&rows)
            && weight.parts.len() <= PARTS_MAX
            && weight.parts.iter().all(fits)
    }

    /// `out = x weight^T + bias`, to be launched. With `normed`, `x` is that norm, still to be
    /// made.
    pub(crate) fn product(
        &self,
        (x, weight, bias): (&Buffer, &Matrix, Option<&Vector>),
        normed: Option<Normed>,
        out: &mut Buffer,
    ) -> Few {
        let Matrix { outputs, inputs, .. } = *weight;
        assert_eq!(x.width(), inputs, "inputs of a product");
        assert_eq!(out.width(), outputs, "outputs of a product");
        assert!(bias.is_none_or(|bias| bias.length() == outputs), "a bias for each output");
        out.begin(x.rows(), Element::F32);
        let kernels = if normed.is_some() { &self.normed } else { &self.plain };
        let mut parts = [const { None }; PARTS_MAX];
        for (place, part) in parts.iter_mut().zip(&weight.parts) {
            let job = Job::of_rows(part, (x, weight, bias), out);
            let mut normed = normed.unwrap_or_default();
            if part.first > 0 {
                normed.out = 0;
            }
            let shared = self.shared((part.format, part.outputs, inputs), x.rows());
            let grid = Grid {
                shared: shared.expect("only weights are taken whose tiles fit"),
                ..Grid::new((part.outputs.div_ceil(UNIT_OUTPUTS), 1), 32 * slices(inputs))
            };
            *place = Some((kernels.get(part.format), grid, Params { job, normed, residual: 0 }));
        }
        Few { parts, out: out.pointer() }
    }
}

impl Few {
    /// Whether it goes to `out`, and may be added to `residual` at once: not while other blocks
    /// norm that.
    pub(crate) fn may_add(&self, out: &Buffer, residual: &Buffer) -> bool {
        let parts = self.parts.iter().flatten();
        self.out == out.pointer() && parts.into_iter().all(|(_, _, p)| !p.normed.is_of(residual))
    }

    /// What comes out is added to `residual` too.
    pub(crate) fn add_to(&mut self, residual: &mut Buffer) {
        for (_, _, params) in self.parts.iter_mut().flatten() {
            params.residual = residual.held_mut(Element::F32) + (params.job.out - self.out);
        }
    }

    pub(crate) fn launch(&self, queue: &Queue) {
        for (kernel, grid, params) in self.parts.iter().flatten() {
            // SAFETY: `x`, `out`, a residual and what is normed have a row for each of `count`, as
            // wide as the weight, whose memory covers its outputs' units.
            unsafe { queue.launch(*kernel, *grid, params) };
        }
    }
}
