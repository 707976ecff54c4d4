//! Linear weights on the device.

use engine_backend::{BackendError, Tensor};

use crate::format::{Format, UNIT_OUTPUTS};
use crate::memory::Memory;
use crate::pack::{Packer, Placed, Rounding};
use crate::queue::Queue;

/// A linear weight: the outputs of its parts, one part after the other.
pub struct Matrix {
    pub(crate) parts: Vec<Part>,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
}

/// Outputs that are kept in one format; of a number of experts, each has as many bytes.
pub(crate) struct Part {
    pub(crate) format: Format,
    /// The first output.
    pub(crate) first: usize,
    pub(crate) outputs: usize,
    pub(crate) memory: Memory,
}

/// Where a tensor goes.
struct Home {
    part: usize,
    /// Its first output among the part's.
    first: usize,
}

/// A plan of parts: tensors of one format are one part, if they begin at whole units.
struct Plan {
    parts: Vec<(Format, usize)>,
    homes: Vec<Home>,
}

/// Inputs that sixteen bytes at a time can be read of.
const INPUTS_STEP: usize = 8;

impl Matrix {
    pub(crate) fn new(
        queue: &Queue,
        packer: &mut Packer,
        tensors: &[Tensor<'_>],
        rounding: Rounding,
    ) -> Result<Self, BackendError> {
        let (parts, inputs) = parts(queue, packer, &[tensors.to_vec()], rounding)?;
        Ok(Self { outputs: parts.iter().map(|part| part.outputs).sum(), parts, inputs })
    }

    /// Number of outputs, over all parts.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Number of inputs.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes that the weights take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.memory.bytes()).sum()
    }
}

/// The parts of one weight, or of one for each expert, and their inputs.
///
/// A part that is not of one type in all experts becomes bf16, and so do all of them if a weight is
/// larger than the format of its type holds.
pub(crate) fn parts(
    queue: &Queue,
    packer: &mut Packer,
    experts: &[Vec<Tensor<'_>>],
    rounding: Rounding,
) -> Result<(Vec<Part>, usize), BackendError> {
    let first = experts.first().map(Vec::as_slice).unwrap_or_default();
    let inputs = first.first().map_or(0, |tensor| tensor.cols);
    for (tensor, like) in experts.iter().flat_map(|tensors| tensors.iter().zip(first)) {
        assert_eq!(tensor.cols, inputs, "parts of one weight have the same inputs");
        assert_eq!(tensor.rows, like.rows, "experts have parts of the same shapes");
    }
    if !inputs.is_multiple_of(INPUTS_STEP) {
        return Err(BackendError::Inputs { found: inputs, multiple: INPUTS_STEP });
    }
    let format = |tensor: &Tensor<'_>| packer.format(tensor.dtype, rounding);
    let mut formats: Vec<_> = first.iter().map(format).collect();
    for tensors in experts {
        for (shared, tensor) in formats.iter_mut().zip(tensors) {
            if *shared != format(tensor) {
                *shared = Format::Bf16;
            }
        }
    }
    let mut parts = lay_out(queue, packer, experts, (&formats, inputs))?;
    if packer.settle(queue)? {
        drop(parts);
        formats.fill(Format::Bf16);
        parts = lay_out(queue, packer, experts, (&formats, inputs))?;
        packer.settle(queue)?;
    }
    parts.iter().for_each(|part| packer.keep(part.format, part.memory.bytes()));
    Ok((parts, inputs))
}

/// Packs each tensor in its format.
fn lay_out(
    queue: &Queue,
    packer: &mut Packer,
    experts: &[Vec<Tensor<'_>>],
    (formats, inputs): (&[Format], usize),
) -> Result<Vec<Part>, BackendError> {
    let first = experts.first().map(Vec::as_slice).unwrap_or_default();
    let rows = first.iter().map(|tensor| tensor.rows);
    let plan = Plan::new(formats.iter().copied().zip(rows));
    let parts = room(queue, experts.len(), &plan.parts, inputs)?;
    let placed = experts.iter().enumerate().flat_map(|(expert, tensors)| {
        tensors.iter().zip(&plan.homes).map({
            let parts = &parts;
            move |(&tensor, home)| {
                let Part { format, outputs, ref memory, .. } = parts[home.part];
                let first = expert * format.bytes(outputs, inputs);
                let units = memory.at(first + format.bytes(home.first, inputs));
                Placed { tensor, format, units }
            }
        })
    });
    packer.pack(queue, placed)?;
    Ok(parts)
}

/// Room for parts of so many outputs, for each of `experts`.
fn room(
    queue: &Queue,
    experts: usize,
    parts: &[(Format, usize)],
    inputs: usize,
) -> Result<Vec<Part>, BackendError> {
    let mut first = 0;
    let part = |&(format, outputs): &(Format, usize)| {
        let bytes = format.bytes(outputs, inputs).saturating_mul(experts);
        let memory = Memory::new(queue.context(), bytes)?;
        first += outputs;
        Ok(Part { format, first: first - outputs, outputs, memory })
    };
    parts.iter().map(part).collect()
}

impl Plan {
    fn new(tensors: impl Iterator<Item = (Format, usize)>) -> Self {
        let mut plan = Self { parts: Vec::new(), homes: Vec::new() };
        for (format, rows) in tensors {
            let joins = plan.parts.last().is_some_and(|&(last, outputs)| {
                last == format && outputs.is_multiple_of(UNIT_OUTPUTS)
            });
            if !joins {
                plan.parts.push((format, 0));
            }
            let part = plan.parts.len() - 1;
            plan.homes.push(Home { part, first: plan.parts[part].1 });
            plan.parts[part].1 += rows;
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_one_format_are_one_if_they_begin_at_whole_units() {
        let plan = |tensors: &[(Format, usize)]| Plan::new(tensors.iter().copied());
        let [f, q] = [Format::Bf16, Format::Q4_1];
        assert_eq!(plan(&[(f, 32), (f, 16), (q, 16)]).parts, [(f, 48), (q, 16)]);
        assert_eq!(plan(&[(q, 8), (q, 16)]).parts, [(q, 8), (q, 16)]);
        assert_eq!(plan(&[(q, 16), (q, 8)]).homes[1].first, 16);
    }
}
