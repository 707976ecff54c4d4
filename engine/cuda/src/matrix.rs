//! Linear weights on the device.

use engine_backend::{BackendError, Tensor};

use crate::format::{Format, UNIT_OUTPUTS};
use crate::memory::Memory;
use crate::pack::Packer;
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
    ) -> Result<Self, BackendError> {
        let (parts, inputs) = parts(queue, packer, &[tensors.to_vec()])?;
        Ok(Self { outputs: parts.iter().map(|part| part.outputs).sum(), parts, inputs })
    }

    /// Weights of chance, made on the device.
    pub(crate) fn random(
        queue: &Queue,
        packer: &Packer,
        (outputs, inputs): (usize, usize),
        seed: u64,
    ) -> Result<Self, BackendError> {
        let parts = vec![random(queue, packer, 1, (outputs, inputs), seed)?];
        Ok(Self { parts, outputs, inputs })
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

/// One part of bf16 weights of chance, for each of `experts`, that keep the size of what they are
/// multiplied with, about.
pub(crate) fn random(
    queue: &Queue,
    packer: &Packer,
    experts: usize,
    (outputs, inputs): (usize, usize),
    seed: u64,
) -> Result<Part, BackendError> {
    let format = Format::Bf16;
    let memory = Memory::new(queue.context(), experts * format.bytes(outputs, inputs))?;
    packer.fill_random(queue, &memory, seed, (3.0 / inputs as f32).sqrt());
    queue.finish()?;
    Ok(Part { format, first: 0, outputs, memory })
}

/// The parts of one weight, or of one for each expert, and their inputs.
pub(crate) fn parts(
    queue: &Queue,
    packer: &mut Packer,
    experts: &[Vec<Tensor<'_>>],
) -> Result<(Vec<Part>, usize), BackendError> {
    let first = experts.first().map(Vec::as_slice).unwrap_or_default();
    let inputs = first.first().map_or(0, |tensor| tensor.cols);
    for tensors in experts {
        for (tensor, like) in tensors.iter().zip(first) {
            assert_eq!(tensor.cols, inputs, "parts of one weight have the same inputs");
            assert_eq!(tensor.rows, like.rows, "experts have parts of the same shapes");
            if Format::of(tensor.dtype) != Format::of(like.dtype) {
                return Err(BackendError::Unsupported(tensor.dtype));
            }
        }
    }
    if !inputs.is_multiple_of(INPUTS_STEP) {
        return Err(BackendError::Device(format!(
            "a weight of {inputs} inputs, expected a multiple of {INPUTS_STEP}"
        )));
    }
    let plan = Plan::new(first);
    let mut parts = Vec::new();
    let mut outputs_before = 0;
    for &(format, outputs) in &plan.parts {
        let bytes = format.bytes(outputs, inputs).saturating_mul(experts.len());
        let memory = Memory::new(queue.context(), bytes)?;
        parts.push(Part { format, first: outputs_before, outputs, memory });
        outputs_before += outputs;
    }
    for (expert, tensors) in experts.iter().enumerate() {
        for (tensor, home) in tensors.iter().zip(&plan.homes) {
            let Part { format, outputs, memory, .. } = &parts[home.part];
            let offset = expert * format.bytes(*outputs, inputs) + format.bytes(home.first, inputs);
            packer.pack(queue, tensor, memory, offset)?;
        }
    }
    // Products ask for weights before the kernel ahead of them has ended.
    queue.finish()?;
    Ok((parts, inputs))
}

impl Plan {
    fn new(tensors: &[Tensor<'_>]) -> Self {
        let mut plan = Self { parts: Vec::new(), homes: Vec::new() };
        for tensor in tensors {
            let format = Format::of(tensor.dtype);
            let joins = plan.parts.last().is_some_and(|&(last, outputs)| {
                last == format && outputs.is_multiple_of(UNIT_OUTPUTS)
            });
            if !joins {
                plan.parts.push((format, 0));
            }
            let part = plan.parts.len() - 1;
            plan.homes.push(Home { part, first: plan.parts[part].1 });
            plan.parts[part].1 += tensor.rows;
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use engine_backend::{DType, Source};

    use super::*;

    #[test]
    fn parts_of_one_format_are_one_if_they_begin_at_whole_units() {
        let plan = |tensors: &[(DType, usize)]| {
            let tensor =
                |&(dtype, rows)| Tensor { dtype, rows, cols: 64, source: Source::Bytes(&[]) };
            Plan::new(&tensors.iter().map(tensor).collect::<Vec<_>>())
        };
        let [f, q] = [DType::F16, DType::Q4K];
        assert_eq!(
            plan(&[(f, 32), (DType::F32, 16), (q, 16)]).parts,
            [(Format::Bf16, 48), (Format::Q4_1, 16)]
        );
        let uneven = plan(&[(q, 8), (q, 16)]);
        assert_eq!(uneven.parts, [(Format::Q4_1, 8), (Format::Q4_1, 16)]);
        assert_eq!(plan(&[(q, 16), (q, 8)]).homes[1].first, 16);
    }
}
