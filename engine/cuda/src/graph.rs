//! A step's launches, captured once and replayed as one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

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

/// What the launches of a step depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sizes {
    pub(crate) tokens: usize,
    pub(crate) samples: usize,
    pub(crate) pieces: usize,
}

/// Graphs of the sizes that came before.
#[derive(Default)]
pub(crate) struct Graphs {
    /// Without a graph if they came once.
    known: HashMap<Sizes, Option<Graph>>,
}

/// What is to be done with a step.
pub(crate) enum Turn<'a> {
    /// Its sizes are new: what comes once is not worth a graph.
    Launch,
    /// Its sizes come again.
    Capture,
    /// There is a graph.
    Replay(&'a Graph),
}

/// Most sizes that are remembered; a graph takes about a megabyte. Beyond, all are forgotten, and
/// those in use are soon known again.
const KNOWN_MAX: usize = 512;

impl Graphs {
    pub(crate) fn turn(&mut self, sizes: Sizes) -> Turn<'_> {
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(&sizes) {
            self.known.clear();
        }
        match self.known.entry(sizes) {
            Entry::Vacant(place) => {
                place.insert(None);
                Turn::Launch
            }
            Entry::Occupied(place) => match place.into_mut() {
                Some(graph) => Turn::Replay(graph),
                None => Turn::Capture,
            },
        }
    }

    pub(crate) fn keep(&mut self, sizes: Sizes, graph: Graph) {
        self.known.insert(sizes, Some(graph));
    }
}
