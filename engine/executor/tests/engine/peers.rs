//! Ranks that are CPUs of one process, each on a single thread.

use std::sync::Arc;

use engine::{ActivationType, Config, LoadError, ModelFile, RankedExecutor, Ranks};
use engine_backend::Rank;
use engine_cpu::{CpuBackend, Peer};
use parking_lot::Mutex;

/// CPUs that know each other.
#[derive(Clone)]
pub(crate) struct Cpus {
    peers: Arc<Mutex<Vec<Option<Peer>>>>,
    activations: ActivationType,
}

impl Cpus {
    pub(crate) fn new(of: usize, activations: ActivationType) -> Self {
        let peers = Peer::group(of).into_iter().map(Some).collect();
        Self { peers: Arc::new(Mutex::new(peers)), activations }
    }
}

impl Ranks for Cpus {
    type Backend = CpuBackend;

    fn open(&self, rank: Rank) -> Result<CpuBackend, LoadError> {
        let peer = self.peers.lock()[rank.index()].take().expect("opened once");
        Ok(CpuBackend::new(1).with_activations(self.activations).with_peer(peer))
    }

    fn join(&self, backend: CpuBackend, _: Rank) -> Result<CpuBackend, LoadError> {
        Ok(backend)
    }
}

/// An executor of so many ranks.
pub(crate) fn executor(
    of: usize,
    file: &ModelFile,
    config: &Config,
) -> Result<RankedExecutor<CpuBackend>, LoadError> {
    RankedExecutor::new(&Cpus::new(of, config.activation_type), of, file, config)
}
