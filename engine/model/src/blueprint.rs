//! A checkpoint's model before any of its weights is read: checked as a whole.

use engine_backend::{Backend, DType};

use crate::architecture::Architecture;
use crate::place::{Kind, Place};
use crate::placement::Placement;
use crate::spec::{DecoderSpec, Mixture};
use crate::{Checkpoint, ModelError, TensorInfo};

/// A model that can be built: its spec, and every weight in its place. Nothing large was allocated
/// yet.
#[derive(Debug)]
pub struct Blueprint<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) placement: Placement<'a>,
    architecture: &'static Architecture,
    spec: DecoderSpec,
}

impl<'a> Blueprint<'a> {
    /// Reads what a checkpoint's model is.
    ///
    /// # Errors
    /// An unknown architecture, facts that are missing or out of range, tensors that are missing,
    /// left over, of the wrong shape or of a type that cannot be computed with.
    pub fn read(checkpoint: &'a Checkpoint) -> Result<Self, ModelError> {
        let architecture = Architecture::find(checkpoint.facts())?;
        let spec = architecture.read_spec(checkpoint.facts())?;
        let placement = Placement::resolve(checkpoint, architecture, &spec)?;
        Ok(Self { checkpoint, placement, architecture, spec })
    }

    /// The model's architecture.
    #[must_use]
    pub const fn architecture(&self) -> &'static Architecture {
        self.architecture
    }

    /// The model's sizes.
    #[must_use]
    pub const fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    /// Whether the embedding is also the output product.
    #[must_use]
    pub fn ties_output(&self) -> bool {
        self.placement.find(Place::Output, 0).is_empty()
    }

    /// Whether a weight must not be rounded to fewer bits than it has. Routers: rounded scores
    /// would choose other experts. An embedding that is only looked up: a step reads few rows of
    /// it, so fewer bits would save no time.
    pub(crate) fn is_exact(&self, place: Place) -> bool {
        matches!(place, Place::Router | Place::SharedRouter)
            || place == Place::Embedding && !self.ties_output()
    }

    /// Bytes of all weights as a backend keeps them; with a type, about those that they would take
    /// if all matrices had it.
    #[must_use]
    pub fn weight_bytes<B: Backend>(&self, backend: &B, dtype: Option<DType>) -> u64 {
        let bytes = |place: Place, tensors: &[&TensorInfo]| {
            let experts = place.experts(&self.spec).unwrap_or(1);
            let number = (experts / tensors.len().max(1)).max(1) as u64;
            let each = tensors.iter().map(|tensor| match place.kind() {
                Kind::Matrix => {
                    let (rows, cols, dtype) = matrix(tensor, number, dtype);
                    let bytes = if self.is_exact(place) {
                        backend.exact_matrix_bytes(dtype, rows, cols)
                    } else {
                        backend.matrix_bytes(dtype, rows, cols)
                    };
                    (bytes as u64).saturating_mul(number)
                }
                Kind::Bias | Kind::Norm => tensor.num_elements() * 4,
                // The host keeps them.
                Kind::Divisors => 0,
            });
            each.fold(0, u64::saturating_add)
        };
        let places = self.placement.tensors().map(|(place, tensors)| bytes(place, tensors));
        places.fold(0, u64::saturating_add)
    }

    /// Parameters that one position goes through: of its layers' experts only those that it
    /// chooses, and no embedding but where that is the output product.
    #[must_use]
    pub fn active_parameters(&self) -> u64 {
        let share =
            |place: Place, elements: u64| match (place.experts(&self.spec), self.spec.mixture) {
                (Some(experts), Some(Mixture { router, .. })) => {
                    elements / experts as u64 * router.chosen as u64
                }
                _ if place == Place::Embedding && !self.ties_output() => 0,
                _ => elements,
            };
        self.placement.elements().map(|(place, elements)| share(place, elements)).sum()
    }
}

/// Rows, columns and type of the `number` matrices that a tensor holds.
fn matrix(tensor: &TensorInfo, number: u64, wished: Option<DType>) -> (usize, usize, DType) {
    let narrow = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    let cols = tensor.dimensions[0];
    let rows = tensor.num_elements() / cols / number;
    let whole = |dtype: &DType| cols.is_multiple_of(dtype.block_elements() as u64);
    let dtype = match wished {
        Some(wished) => Some(wished).filter(whole).unwrap_or(DType::F16),
        None => tensor.element.dtype.expect("places take supported types alone"),
    };
    (narrow(rows), narrow(cols), dtype)
}
