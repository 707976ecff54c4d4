//! What was asked for and is not launched yet: what comes after may do it on its way, or do its own
//! work on the way of this.
//!
//! Whatever else comes, settles first. So at most one product or norm is put off at a time, and
//! nothing reads or writes what it is about meanwhile.

use crate::buffer::Buffer;
use crate::experts::ExpertSum;
use crate::kernels::Kernels;
use crate::mixture::Summing;
use crate::norm::Normed;
use crate::queue::Queue;
use crate::resident::Few;
use crate::rope::{HeadNorms, Turning};
use crate::router::Routing;

/// Operations that are put off.
#[derive(Default)]
pub(crate) struct PutOff {
    /// Norms that the rotation after them does on its way.
    pub(crate) head_norms: Option<HeadNorms>,
    /// A rotation that the attention after it does on its way.
    pub(crate) turning: Option<Turning>,
    /// A sum that the norm after it does on its way.
    pub(crate) sum: Option<ExpertSum>,
    /// A product that adds to a residual what comes out, if that is what comes after.
    pub(crate) product: Option<Product>,
    /// A router that fetches some of the weight that is read after it.
    pub(crate) routing: Option<Routing>,
    /// A norm that the product after it does on its way.
    pub(crate) normed: Option<Normed>,
}

/// A product that is put off.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and nothing allocates")]
pub(crate) enum Product {
    Linear(Few),
    Experts(Summing),
}

impl PutOff {
    /// Does it all.
    pub(crate) fn settle(&mut self, kernels: &Kernels, queue: &Queue) {
        if let Some(norms) = self.head_norms.take() {
            kernels.ropes.norm(queue, norms);
        }
        if let Some(turning) = self.turning.take() {
            kernels.ropes.launch(queue, &turning);
        }
        if let Some(sum) = self.sum.take() {
            kernels.experts.combine(queue, sum);
        }
        if let Some(product) = self.product.take() {
            product.launch(queue);
        }
        if let Some(routing) = self.routing.take() {
            routing.launch(queue);
        }
        if let Some(normed) = self.normed.take() {
            kernels.norms.norm(queue, normed);
        }
    }
}

impl Product {
    /// Whether it goes to `out`, and may be added to `residual` at once.
    pub(crate) fn may_add(&self, out: &Buffer, residual: &Buffer) -> bool {
        match self {
            Self::Linear(product) => product.may_add(out, residual),
            Self::Experts(product) => product.goes_to(out),
        }
    }

    pub(crate) fn add_to(&mut self, residual: &mut Buffer) {
        match self {
            Self::Linear(product) => product.add_to(residual),
            Self::Experts(product) => product.add_to(residual),
        }
    }

    pub(crate) fn launch(&self, queue: &Queue) {
        match self {
            Self::Linear(product) => product.launch(queue),
            Self::Experts(product) => product.launch(queue),
        }
    }
}
