//! What is launched many times, as one.

use engine_backend::BackendError;

use super::CudaBackend;
use crate::fault::device_error;
use crate::graph::Graph;

impl CudaBackend {
    /// Captures what `enqueue` launches on this backend, without running it: operations of a staged
    /// step, but neither staging nor recording. It holds for steps of the same sizes.
    ///
    /// # Errors
    /// The driver's, and those of the operations.
    pub fn capture(&mut self, enqueue: impl FnOnce(&mut Self)) -> Result<Graph, BackendError> {
        self.settle();
        Graph::begin(&self.queue).map_err(device_error)?;
        enqueue(self);
        self.settle();
        let graph = Graph::end(&self.queue).map_err(device_error)?;
        self.queue.faults().check()?;
        graph.ok_or_else(|| BackendError::Device("a graph of nothing was captured".to_owned()))
    }

    /// Launches what was captured, as one.
    pub fn replay(&mut self, graph: &Graph) {
        self.queue.faults().note(graph.replay());
    }
}
