//! A backend as one of several ranks.

use engine_backend::Rank;

use super::CudaBackend;
use crate::OpenError;
use crate::buffer::Buffer;
use crate::peers::{Peers, PeersId};

impl CudaBackend {
    /// The same backend, before it is asked for anything, with the share of one of several ranks.
    /// What all have together it can say only once it has joined them.
    #[must_use]
    pub fn with_rank(self, rank: Rank) -> Self {
        Self { rank, ..self }
    }

    /// Waits until all ranks have come this far with the same id, and knows them from then on.
    ///
    /// # Errors
    /// NCCL's.
    pub fn join(self, id: PeersId) -> Result<Self, OpenError> {
        Ok(Self { peers: Some(Peers::join(self.rank, id)?), ..self })
    }

    /// What [`engine_backend::Backend::all_reduce`] does once it has what every rank has.
    pub fn sum_parts(&mut self, ranks: usize, parts: &Buffer, out: &mut Buffer) {
        self.kernels.ranks.sum(&self.queue, ranks, parts, out);
    }

    /// What [`engine_backend::Backend::all_gather`] does once it has what every rank has.
    pub fn join_parts(&mut self, ranks: usize, parts: &Buffer, out: &mut Buffer) {
        self.kernels.ranks.join(&self.queue, ranks, parts, out);
    }
}
