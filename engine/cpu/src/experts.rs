//! Products with the weights that each position chose.
//!
//! The rows of an expert lie together, so its product is one like any other, with the kernel of
//! any other: a row gives the bits that [`linear`](super::linear) gives it alone. All experts are
//! one operation of the team. Experts without rows have no task, and their weights stay unread.

use engine_backend::{BackendError, ExpertInput, Tensor};

use crate::{
    activation::{ActivationType, Activations, Wanted},
    buffer::Buffer,
    linear::rows_each,
    matrix::{Matrix, strip},
    route::Routes,
    simd::{Chosen, Cuts, Team, grid},
};

/// A linear weight of every expert of a layer, all of the same shape.
pub struct Experts {
    matrices: Vec<Matrix>,
    wanted: Wanted,
}

impl Experts {
    pub(crate) fn new(team: &Team, experts: &[Vec<Tensor<'_>>]) -> Result<Self, BackendError> {
        assert!(!experts.is_empty(), "a layer of no experts");
        for parts in experts {
            let same = parts.iter().map(|part| part.rows).eq(experts[0].iter().map(|x| x.rows));
            assert!(same, "parts of the same shapes for all experts");
        }
        let matrices = experts.iter().map(|parts| Matrix::new(team, parts));
        let matrices = matrices.collect::<Result<Vec<_>, _>>()?;
        let inputs = matrices[0].inputs();
        assert!(matrices.iter().all(|matrix| matrix.inputs() == inputs), "the same inputs");
        let wanted = matrices.iter().fold(Wanted::default(), |sum, x| sum.and(x.wanted()));
        Ok(Self { matrices, wanted })
    }

    /// Number of experts.
    #[must_use]
    pub fn experts(&self) -> usize {
        self.matrices.len()
    }

    /// Number of outputs of each.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.matrices[0].outputs()
    }

    /// Number of inputs of each.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.matrices[0].inputs()
    }

    /// Bytes that the weights take, packed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.matrices.iter().map(Matrix::bytes).sum()
    }
}

/// What products of experts keep from one to the next: nothing but memory.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The input, a row for each choice.
    gathered: Activations,
    /// Where choices are cut for the threads, and where outputs are.
    rows: Vec<usize>,
    strips: Vec<usize>,
    choices_max: usize,
    inputs_max: usize,
}

impl Scratch {
    pub(crate) fn new(kind: ActivationType) -> Self {
        Self { gathered: Activations::new(kind), ..Self::default() }
    }

    /// Makes room for `choices` choices of whatever width there is.
    pub(crate) fn reserve_choices(&mut self, choices: usize) -> Result<(), BackendError> {
        self.choices_max = self.choices_max.max(choices);
        self.gathered.reserve(self.choices_max, self.inputs_max)
    }

    /// Makes room for inputs of this width.
    pub(crate) fn reserve_inputs(&mut self, inputs: usize) -> Result<(), BackendError> {
        self.inputs_max = self.inputs_max.max(inputs);
        self.gathered.reserve(self.choices_max, self.inputs_max)
    }

    /// Cuts the choices of each expert every `step` rows, and outputs so that all threads have
    /// work.
    fn cut(&mut self, weight: &Experts, routes: &Routes, step: usize, threads: usize) {
        self.rows.clear();
        self.rows.push(0);
        for ends in routes.starts().windows(2).filter(|ends| ends[0] < ends[1]) {
            self.rows.extend((ends[0]..ends[1]).step_by(step).skip(1));
            self.rows.push(ends[1]);
        }
        // As one product of so many outputs would be.
        let outputs = weight.outputs() * (self.rows.len() - 1).max(1);
        weight.matrices[0].cut(strip(outputs, threads), &mut self.strips);
    }
}

/// `out[c] = x[c] weight[expert of c]^T`, or of `x[position of c]`.
pub(crate) fn expert_linear(
    team: &Team,
    isa: Chosen,
    (activations, scratch): (&mut Activations, &mut Scratch),
    (x, input, weight, routes): (&Buffer, ExpertInput, &Experts, &Routes),
    out: &mut Buffer,
) {
    let (positions, inputs, width) = (routes.positions(), weight.inputs(), out.width());
    assert_eq!(x.width(), inputs, "inputs of a product");
    assert_eq!(width, weight.outputs(), "outputs of a product");
    assert_eq!(routes.starts().len(), weight.experts() + 1, "experts to choose from");
    out.set_rows(positions.len());
    activations.fill(team, isa, x.values(), (x.rows(), inputs), weight.wanted);
    scratch.cut(weight, routes, rows_each(weight.wanted, inputs), team.threads());
    let activations = match input {
        ExpertInput::Choices => {
            assert_eq!(x.rows(), positions.len(), "a row for each choice");
            &*activations
        }
        ExpertInput::Positions => {
            assert_eq!(x.rows(), routes.num_positions(), "a row for each position");
            let of = (&*activations, positions, inputs);
            scratch.gathered.gather(team, of, weight.wanted);
            &scratch.gathered
        }
    };
    let (rows, strips) = (Cuts::At(&scratch.rows), Cuts::At(&scratch.strips));
    grid(team, out.values_mut(), width, rows, strips, &|rect, _| {
        weight.matrices[routes.expert(rect.row())].product(isa, activations, None, rect);
    });
}
