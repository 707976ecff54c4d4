//! [`CudaBackend`]: every operation is enqueued in the order they are called.
#![expect(unsafe_code, reason = "launches a kernel and a copy")]

mod buffers;
mod captures;
mod mixture;
mod share;

use std::sync::Arc;

use engine_backend::{
    Activation, AttentionShape, Backend, BackendError, CacheShape, DType, DeviceMemory,
    ExpertInput, Heads, Rank, Rope, Router, StepLayout, Tensor,
};

use crate::OpenError;
use crate::buffer::{Buffer, Vector};
use crate::cache::Cache;
use crate::device::{self, DeviceInfo};
use crate::event::{Done, LOGPROB_WORDS};
use crate::experts::{ExpertSum, Experts};
use crate::fault::device_error;
use crate::format::{Format, WeightType};
use crate::graph::{Graphs, Turn};
use crate::kernels::Kernels;
use crate::matrix::Matrix;
use crate::module::Modules;
use crate::norm::Normed;
use crate::pack::{Packer, Rounding};
use crate::peers::Peers;
use crate::put_off::{Product, PutOff};
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
    put_off: PutOff,
    /// The routes that the last kernel read and did not write.
    routed: Option<u64>,
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
            put_off: PutOff::default(),
            routed: None,
            graphs: Graphs::default(),
            before: None,
            since: None,
        })
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
        self.routed = None;
        self.put_off.settle(&self.kernels, &self.queue);
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
        self.put_off.normed = Normed::put_off(x, (weight, eps), out);
        if self.put_off.normed.is_none() {
            self.kernels.norms.launch(&self.queue, (x, weight, eps), (None, None), out);
        }
    }

    fn add_rms_norm(
        &mut self,
        x: &Buffer,
        residual: &mut Buffer,
        weight: &Vector,
        eps: f32,
        out: &mut Buffer,
    ) {
        let sum = self.put_off.sum.take_if(|sum| sum.goes_to(x));
        let product = self.put_off.product.take_if(|product| product.may_add(x, residual));
        self.settle();
        if let Some(mut product) = product {
            // Whoever reads the norm makes it; the sum with the residual is the product's.
            self.put_off.normed = Normed::put_off(residual, (weight, eps), out);
            if self.put_off.normed.is_some() {
                product.add_to(residual);
            }
            product.launch(&self.queue);
        }
        if self.put_off.normed.is_some() {
            return;
        }
        self.kernels.norms.launch(&self.queue, (x, weight, eps), (sum, Some(residual)), out);
    }

    fn linear(&mut self, x: &Buffer, weight: &Matrix, bias: Option<&Vector>, out: &mut Buffer) {
        let takes = self.kernels.residents.take(weight, x.rows());
        let normed = self.put_off.normed.take_if(|normed| takes && normed.is_for_readers(x));
        self.settle();
        if takes {
            let product = self.kernels.residents.product((x, weight, bias), normed, out);
            self.put_off.product = Some(Product::Linear(product));
        } else {
            self.kernels.product(&self.queue, (x, weight, bias), out);
        }
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
        self.put_off.head_norms = Some(HeadNorms::new(qkv, heads, (query, key), eps));
    }

    fn rope_and_store(
        &mut self,
        qkv: &mut Buffer,
        step: &Step,
        heads: Heads,
        rope: &Rope,
        cache: &mut Cache,
    ) {
        let norms = self.put_off.head_norms.take_if(|norms| norms.are_of(qkv));
        self.settle();
        self.put_off.turning = Some(Turning::new((step, heads, rope), norms, qkv, cache));
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
        let turning = self.put_off.turning.take_if(|turning| joins && turning.is_of(qkv, cache));
        self.settle();
        let turning = self.kernels.ropes.before(&self.queue, step, turning);
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
        self.put_off.sum = Some(ExpertSum::new(x, routes, out));
    }

    fn route_linear(
        &mut self,
        x: &Buffer,
        weight: &Matrix,
        scores: &mut Buffer,
        router: Router,
        routes: &mut Routes,
    ) {
        self.score_and_route((x, weight), scores, router, routes);
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
        self.gate_choices((x, weight), (routes, activation), between, out);
    }

    fn expert_sum(
        &mut self,
        x: &Buffer,
        weight: &Experts,
        routes: &Routes,
        between: &mut Buffer,
        out: &mut Buffer,
    ) {
        self.sum_choices((x, weight), routes, between, out);
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
