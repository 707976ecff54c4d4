//! A checkpoint's model before any of its weights is read: checked as a whole.

use engine_backend::{Backend, DType, Rank};

use crate::architecture::Architecture;
use crate::keys::Keys;
use crate::place::{Kind, Place};
use crate::placement::Placement;
use crate::share;
use crate::spec::{DecoderSpec, Mixture};
use crate::weights::Shape;
use crate::{Checkpoint, ModelError, TensorInfo};

/// A model that can be built: its spec, and every weight in its place. Nothing large was allocated
/// yet.
#[derive(Debug)]
pub struct Blueprint<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) placement: Placement<'a>,
    architecture: &'static Architecture,
    spec: DecoderSpec,
    pub(crate) rank: Rank,
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
        Ok(Self { checkpoint, placement, architecture, spec, rank: Rank::ALONE })
    }

    /// What one rank computes of the model: the spec has its sizes from now on.
    ///
    /// Each rank has its share of the heads of queries, and of those of keys and values or one that
    /// it has together with others; of the inner width of every MLP; of the experts, whole ones;
    /// and of the output product, if the vocabulary can be shared out. It has all of the embedding,
    /// of which a step reads few rows, and of norms and routers, which are small.
    ///
    /// # Errors
    /// Something cannot be shared out among so many.
    pub fn for_rank(self, rank: Rank) -> Result<Self, ModelError> {
        let keys = Keys { facts: self.checkpoint.facts(), prefix: self.architecture.name };
        let spec = share::spec(&keys, self.spec, rank)?;
        share::check(&self.placement, &spec, rank)?;
        Ok(Self { spec, rank, ..self })
    }

    /// The model's architecture.
    #[must_use]
    pub const fn architecture(&self) -> &'static Architecture {
        self.architecture
    }

    /// The model's sizes, those of one rank if it was cut for one.
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
            || place == Place::Embedding
                && !(self.ties_output() && self.spec.logits == self.spec.vocab)
    }

    /// Bytes of all weights as a backend keeps them; with a type, about those that they would take
    /// if all matrices had it.
    #[must_use]
    pub fn weight_bytes<B: Backend>(&self, backend: &B, dtype: Option<DType>) -> u64 {
        let matrix = |tensor: &TensorInfo, place: Place| {
            let exact = self.is_exact(place);
            matrix_bytes(backend, (tensor, exact), &place.shape(&self.spec), dtype)
        };
        let bytes = |place: Place, tensors: &[&TensorInfo]| {
            let (tensors, number) = match place.experts(&self.spec) {
                Some(all) if tensors.len() == all => (&tensors[self.rank.share(all)], 1),
                Some(all) => (tensors, self.rank.share(all).len()),
                None => (tensors, 1),
            };
            let each = tensors.iter().map(|tensor| match place.kind() {
                Kind::Matrix => matrix(tensor, place).saturating_mul(number as u64),
                Kind::Bias | Kind::Norm => place.shape(&self.spec).columns() as u64 * 4,
                // The host keeps them.
                Kind::Divisors => 0,
            });
            each.fold(0, u64::saturating_add)
        };
        let places = self.placement.tensors().map(|(place, tensors)| bytes(place, tensors));
        // Of an embedding that serves, a rank's share is a weight of its own.
        let tied = self.ties_output() && self.spec.logits < self.spec.vocab;
        let tied = tied.then(|| self.placement.find(Place::Embedding, 0)[0]);
        let tied = tied.map_or(0, |tensor| matrix(tensor, Place::Output));
        places.fold(tied, u64::saturating_add)
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

/// Bytes that a backend needs for a matrix of this shape, of a tensor's type; exact or not.
fn matrix_bytes<B: Backend>(
    backend: &B,
    (tensor, exact): (&TensorInfo, bool),
    shape: &Shape,
    wished: Option<DType>,
) -> u64 {
    let (rows, cols) = (shape.rows(), shape.columns());
    let whole = |dtype: &DType| cols.is_multiple_of(dtype.block_elements());
    let dtype = match wished {
        Some(wished) => Some(wished).filter(whole).unwrap_or(DType::F16),
        None => tensor.element.dtype.expect("places take supported types alone"),
    };
    let bytes = if exact {
        backend.exact_matrix_bytes(dtype, rows, cols)
    } else {
        backend.matrix_bytes(dtype, rows, cols)
    };
    bytes as u64
}
