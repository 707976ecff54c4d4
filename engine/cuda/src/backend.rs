//! [`CudaBackend`]: every operation is enqueued in the order they are called.
#![expect(unsafe_code, reason = "launches a kernel and a copy")]

use std::sync::Arc;

use engine_backend::{
    Activation, AttentionShape, Backend, BackendError, CacheShape, DType, DeviceMemory,
    ExpertInput, Heads, Rank, Rope, Router, StepLayout, Tensor,
};

use crate::OpenError;
use crate::buffer::{Buffer, Element, Vector};
use crate::cache::Cache;
use crate::device::{self, DeviceInfo};
use crate::event::{Done, LOGPROB_WORDS};
use crate::experts::{ExpertSum, Experts};
use crate::fault::device_error;
use crate::format::{Format, WeightType};
use crate::graph::{Graph, Graphs, Turn};
use crate::kernels::Kernels;
use crate::matrix::Matrix;
use crate::module::Modules;
use crate::pack::{Packer, Rounding};
use crate::peers::{Peers, PeersId};
use crate::queue::Queue;
use crate::ranks::exchange;
use crate::rope::{HeadNorms, Turning};
use crate::route::Routes;
use crate::step::{Limits, Slot, Step};
use crate::tally::Tallies;

/// Runs operations on one GPU. Made on the thread that will use it.
pub struct CudaBackend {
    // Dropped first: what waits for others on the stream would keep all else waiting.
    peers: Option<Peers>,
    rank: Rank,
    queue: Queue,
    info: DeviceInfo,
    packer: Packer,
    kernels: Kernels,
    /// The caches that were made: steps have room for the attention over any of them.
    caches: Vec<CacheShape>,
    /// Norms that the rotation after them does on its way.
    norms: Option<HeadNorms>,
    /// A rotation that the attention after it does on its way.
    turning: Option<Turning>,
    /// A sum that the norm after it does on its way.
    sum: Option<ExpertSum>,
    graphs: Graphs,
    /// Of the last step, if it was recorded and none was staged after it.
    before: Option<Arc<Slot>>,
    /// Of the step right before the staged one.
    since: Option<Arc<Slot>>,
}

impl CudaBackend {
    /// A backend on the first GPU.
    ///
    /// # Errors
    /// The build has no kernels, or there is no GPU that could run them.
    pub fn new() -> Result<Self, OpenError> {
        Self::on(0)
    }

    /// A backend on the GPU of this number.
    ///
    /// # Errors
    /// The build has no kernels, or there is no such GPU that could run them.
    pub fn on(number: usize) -> Result<Self, OpenError> {
        let (context, info) = device::open(number)?;
        let modules = Modules::load(&context, &info)?;
        let queue = Queue::new(&context, &info)?;
        let packer = Packer::load(&modules, &queue)?;
        let kernels = Kernels::load(&modules, &queue, &info)?;
        Ok(Self {
            peers: None,
            rank: Rank::ALONE,
            queue,
            info,
            packer,
            kernels,
            caches: Vec::new(),
            norms: None,
            turning: None,
            sum: None,
            graphs: Graphs::default(),
            before: None,
            since: None,
        })
    }

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

    /// What plain weights become that are made from now on.
    #[must_use]
    pub fn with_weights(mut self, plain: WeightType) -> Self {
        self.packer.set_plain(plain);
        self
    }

    /// The formats that weights are kept in, and the bytes of each.
    pub fn weights(&self) -> impl Iterator<Item = (Format, usize)> {
        self.packer.kept()
    }

    /// What is known of the GPU.
    #[must_use]
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Fills a buffer with `rows` rows from the host, held as `element`.
    ///
    /// # Errors
    /// The device's.
    ///
    /// # Panics
    /// If there are not as many values, or the buffer has no room for them.
    pub fn write(
        &self,
        buffer: &mut Buffer,
        rows: usize,
        element: Element,
        values: &[f32],
    ) -> Result<(), BackendError> {
        buffer.fill(&self.queue, rows, element, values)
    }

    /// Sets every byte of a buffer, those of rows that are not in use too.
    ///
    /// # Errors
    /// The device's.
    pub fn poison(&self, buffer: &Buffer, byte: u8) -> Result<(), BackendError> {
        buffer.poison(&self.queue, byte)
    }

    /// What [`Backend::all_reduce`] does once it has what every rank has.
    pub fn sum_parts(&mut self, ranks: usize, parts: &Buffer, out: &mut Buffer) {
        self.kernels.ranks.sum(&self.queue, ranks, parts, out);
    }

    /// What [`Backend::all_gather`] does once it has what every rank has.
    pub fn join_parts(&mut self, ranks: usize, parts: &Buffer, out: &mut Buffer) {
        self.kernels.ranks.join(&self.queue, ranks, parts, out);
    }

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

    /// Waits for everything that was enqueued.
    ///
    /// # Errors
    /// The first error of it.
    pub fn finish(&mut self) -> Result<(), BackendError> {
        self.settle();
        self.queue.finish()
    }

    /// Does what was put off, before something may read or write what it is about.
    fn settle(&mut self) {
        if let Some(norms) = self.norms.take() {
            self.kernels.ropes.norm(&self.queue, norms);
        }
        if let Some(turning) = self.turning.take() {
            self.kernels.ropes.launch(&self.queue, &turning);
        }
        if let Some(sum) = self.sum.take() {
            self.kernels.experts.combine(&self.queue, sum);
        }
    }
}

impl Backend for CudaBackend {
    type Buffer = Buffer;
    type Vector = Vector;
    type Matrix = Matrix;
    type Experts = Experts;
    type Routes = Routes;
    type Cache = Cache;
    type Step = Step;
    type Event = Done;

    fn rank(&self) -> Rank {
        self.rank
    }

    fn buffer(&mut self, rows: usize, width: usize) -> Result<Buffer, BackendError> {
        Buffer::new(&self.queue, rows, width)
    }

    fn vector(&mut self, values: &[f32]) -> Result<Vector, BackendError> {
        Vector::new(&self.queue, values)
    }

    fn matrix(&mut self, parts: &[Tensor<'_>]) -> Result<Matrix, BackendError> {
        Matrix::new(&self.queue, &mut self.packer, parts, Rounding::Allowed)
    }

    fn exact_matrix(&mut self, parts: &[Tensor<'_>]) -> Result<Matrix, BackendError> {
        Matrix::new(&self.queue, &mut self.packer, parts, Rounding::Forbidden)
    }

    fn experts(&mut self, experts: &[Vec<Tensor<'_>>]) -> Result<Experts, BackendError> {
        Experts::new(&self.queue, &mut self.packer, experts)
    }

    fn routes(&mut self, rows: usize, router: Router) -> Result<Routes, BackendError> {
        Routes::new(&self.queue, rows, router, self.rank.share(router.experts))
    }

    fn cache(&mut self, shape: CacheShape) -> Result<Cache, BackendError> {
        self.caches.push(shape);
        Cache::new(&self.queue, shape, self.kernels.attentions.tiles())
    }

    fn cache_bytes(shape: CacheShape) -> usize {
        Cache::bytes(shape)
    }

    fn memory(&self) -> Result<Option<DeviceMemory>, BackendError> {
        let (free, total) = self.queue.context().mem_get_info().map_err(device_error)?;
        let device = self.info.name.clone();
        Ok(Some(DeviceMemory { device, total: total as u64, free: free as u64 }))
    }

    fn matrix_bytes(&self, dtype: DType, rows: usize, cols: usize) -> usize {
        self.packer.format(dtype, Rounding::Allowed).bytes(rows, cols)
    }

    fn exact_matrix_bytes(&self, dtype: DType, rows: usize, cols: usize) -> usize {
        self.packer.format(dtype, Rounding::Forbidden).bytes(rows, cols)
    }

    fn step_bytes(
        rows_max: usize,
        tokens_max: usize,
        blocks_max: usize,
        vocab: usize,
        cache: CacheShape,
    ) -> usize {
        // More than any has: they count for a few kilobytes.
        const MULTIPROCESSORS_MAX: usize = 256;
        let sizes = (rows_max, tokens_max, blocks_max);
        let limits = Limits::new(sizes, &[cache], MULTIPROCESSORS_MAX);
        Step::bytes(limits).saturating_add(Tallies::bytes(rows_max, vocab))
    }

    fn step(
        &mut self,
        rows_max: usize,
        tokens_max: usize,
        blocks_max: usize,
        vocab: usize,
    ) -> Result<Step, BackendError> {
        self.packer.finish();
        let sizes = (rows_max, tokens_max, blocks_max);
        let limits = Limits::new(sizes, &self.caches, self.info.multiprocessors);
        Step::new(&self.queue, limits, vocab)
    }

    fn run(&mut self, step: &Step, body: impl FnOnce(&mut Self)) {
        let Some(sizes) = step.sizes() else { return body(self) };
        let mut graphs = std::mem::take(&mut self.graphs);
        match graphs.turn(sizes) {
            Turn::Launch => body(self),
            Turn::Capture => match self.capture(body) {
                Ok(graph) => {
                    self.replay(&graph);
                    graphs.keep(sizes, graph);
                }
                Err(error) => self.queue.faults().note_error(error),
            },
            // Without its launches, `body` leaves the host with what it knows of the buffers.
            Turn::Replay(graph) => {
                self.queue.mute(true);
                body(self);
                self.settle();
                self.queue.mute(false);
                self.replay(graph);
            }
        }
        self.graphs = graphs;
    }

    fn stage(&mut self, layout: &StepLayout, step: &mut Step) {
        self.settle();
        self.since = self.before.take();
        self.kernels.stage(&self.queue, layout, step);
        step.tell(&self.queue, &self.kernels.tallies, layout);
        self.queue.set_apart();
        self.queue.record(&step.slot().end);
    }

    fn embed(&mut self, table: &Matrix, step: &Step, scale: f32, out: &mut Buffer) {
        self.settle();
        self.kernels.embeds.embed(&self.queue, (table, step, scale), out);
    }

    fn rms_norm(&mut self, x: &Buffer, weight: &Vector, eps: f32, out: &mut Buffer) {
        self.settle();
        self.kernels.norms.launch(&self.queue, (x, weight, eps), (None, None), out);
    }

    fn add_rms_norm(
        &mut self,
        x: &Buffer,
        residual: &mut Buffer,
        weight: &Vector,
        eps: f32,
        out: &mut Buffer,
    ) {
        let sum = self.sum.take_if(|sum| sum.goes_to(x));
        self.settle();
        self.kernels.norms.launch(&self.queue, (x, weight, eps), (sum, Some(residual)), out);
    }

    fn linear(&mut self, x: &Buffer, weight: &Matrix, bias: Option<&Vector>, out: &mut Buffer) {
        self.settle();
        self.kernels.product(&self.queue, (x, weight, bias), out);
    }

    fn head_rms_norm(
        &mut self,
        qkv: &mut Buffer,
        heads: Heads,
        query: &Vector,
        key: &Vector,
        eps: f32,
    ) {
        self.settle();
        self.norms = Some(HeadNorms::new(qkv, heads, (query, key), eps));
    }

    fn rope_and_store(
        &mut self,
        qkv: &mut Buffer,
        step: &Step,
        heads: Heads,
        rope: &Rope,
        cache: &mut Cache,
    ) {
        let norms = self.norms.take_if(|norms| norms.are_of(qkv));
        self.settle();
        self.turning = Some(Turning::new((step, heads, rope), norms, qkv, cache));
    }

    fn attend(
        &mut self,
        qkv: &Buffer,
        step: &Step,
        shape: AttentionShape,
        cache: &Cache,
        out: &mut Buffer,
    ) {
        let joins = cache.tiled();
        let turning = self.turning.take_if(|turning| joins && turning.is_of(qkv, cache));
        self.settle();
        if let Some(turning) = turning.as_ref().filter(|_| !step.is_lone()) {
            self.kernels.ropes.launch(&self.queue, &turning.without_queries());
        }
        let turning = turning.as_ref();
        self.kernels.attentions.launch(&self.queue, (qkv, step, shape, cache), turning, out);
    }

    fn gated(&mut self, gate_up: &Buffer, activation: Activation, out: &mut Buffer) {
        self.settle();
        self.kernels.gates.launch(&self.queue, gate_up, activation, out);
    }

    fn route(&mut self, scores: &Buffer, router: Router, routes: &mut Routes) {
        self.settle();
        self.kernels.routes.launch(&self.queue, scores, router, routes);
    }

    fn expert_linear(
        &mut self,
        x: &Buffer,
        input: ExpertInput,
        weight: &Experts,
        routes: &Routes,
        out: &mut Buffer,
    ) {
        self.settle();
        self.kernels.expert_product(&self.queue, (x, input), (weight, routes), out);
    }

    fn combine(&mut self, x: &Buffer, routes: &Routes, out: &mut Buffer) {
        self.settle();
        self.sum = Some(ExpertSum::new(x, routes, out));
    }

    fn gated_linear(
        &mut self,
        x: &Buffer,
        weight: &Matrix,
        activation: Activation,
        between: &mut Buffer,
        out: &mut Buffer,
    ) {
        self.settle();
        if !self.kernels.gated_product(&self.queue, (x, weight), activation, out) {
            self.linear(x, weight, None, between);
            self.gated(between, activation, out);
        }
    }

    fn expert_gated(
        &mut self,
        x: &Buffer,
        weight: &Experts,
        routes: &Routes,
        activation: Activation,
        between: &mut Buffer,
        out: &mut Buffer,
    ) {
        self.settle();
        if !self.kernels.gated_experts(&self.queue, (x, weight, routes, activation), between, out) {
            self.expert_linear(x, ExpertInput::Positions, weight, routes, between);
            self.gated(between, activation, out);
        }
    }

    fn add_gated(&mut self, x: &Buffer, gate: &Buffer, out: &mut Buffer) {
        self.settle();
        self.kernels.experts.add_gated(&self.queue, x, gate, out);
    }

    fn all_reduce(&mut self, x: &mut Buffer, parts: &mut Buffer) {
        self.settle();
        let peers = self.peers.as_ref().expect("who knows no others is not asked");
        exchange(&self.queue, peers, x, parts);
        self.kernels.ranks.sum(&self.queue, peers.of(), parts, x);
    }

    fn all_gather(&mut self, x: &Buffer, parts: &mut Buffer, out: &mut Buffer) {
        self.settle();
        let peers = self.peers.as_ref().expect("who knows no others is not asked");
        exchange(&self.queue, peers, x, parts);
        self.kernels.ranks.join(&self.queue, peers.of(), parts, out);
    }

    fn gather(&mut self, x: &Buffer, step: &Step, out: &mut Buffer) {
        self.settle();
        self.kernels.embeds.gather(&self.queue, x, step, out);
    }

    fn sample(&mut self, logits: &Buffer, step: &Step) {
        self.settle();
        self.kernels.samples.launch(&self.queue, logits, step);
    }

    fn record(&mut self, step: &Step) -> Done {
        self.settle();
        let samples = step.counts().samples;
        let slot = Arc::clone(step.slot());
        // SAFETY: both sides have a word for each row; the host reads its side after the event.
        unsafe { self.queue.copy(step.drawn(), slot.drawn.pointer(), 4 * samples) };
        let wanted = step.wanted().to_vec();
        if let Some(last) = wanted.last() {
            let bytes = 4 * LOGPROB_WORDS * (last.row + 1);
            // SAFETY: the same of as many words for each row.
            unsafe { self.queue.copy(step.logprobs(), slot.logprobs.pointer(), bytes) };
        }
        self.queue.record(&slot.end);
        self.before = Some(Arc::clone(&slot));
        let before = self.since.take();
        let (vocab, faults) = (step.tallies().vocab(), self.queue.faults().clone());
        Done { slot, before, samples, wanted, vocab, faults }
    }
}
