//! A step's launches, captured once and replayed as one.

use cudarc::driver::{CudaGraph, DriverError, sys};

use crate::queue::Queue;

/// What was captured. Buffers that it names must live as long.
pub struct Graph(CudaGraph);

impl Graph {
    /// From now on, launches are noted instead of run.
    pub(crate) fn begin(queue: &Queue) -> Result<(), DriverError> {
        // Other threads may allocate meanwhile; this one doesn't.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        queue.stream().begin_capture(mode)
    }

    /// What was launched since; nothing if that was nothing.
    pub(crate) fn end(queue: &Queue) -> Result<Option<Self>, DriverError> {
        let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        Ok(queue.stream().end_capture(flags)?.map(Self))
    }

    pub(crate) fn replay(&self) -> Result<(), DriverError> {
        self.0.launch()
    }
}
