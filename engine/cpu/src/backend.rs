//! [`CpuBackend`]: every operation, in the order they are called, on the team's threads.

use std::{
    num::NonZero,
    thread::available_parallelism,
    time::{Duration, Instant},
};

use engine_backend::{
    Activation, AttentionShape, Backend, BackendError, CacheShape, Drawn, ExpertInput, Heads, Rank,
    Rope, Router, StepLayout, Tensor,
};

use crate::{
    activation::{ActivationType, Activations},
    attention::{self, attend},
    buffer::{Buffer, Vector},
    cache::Cache,
    combine::{add_gated, combine},
    embed::{embed, gather, resolve},
    experts::{self, Experts, expert_linear},
    gated::gated,
    isa,
    linear::linear,
    matrix::Matrix,
    norm::{add, head_rms_norm, rms_norm},
    ranks::{self, Peer},
    rope::{Angles, rope_and_store},
    route::{Routes, route},
    sample::{self, Drew, sample},
    simd::{Chosen, Isa, Team, choose},
    step::{Done, Step},
    tally::{self, Tally},
};

/// Runs operations on the calling thread and some more, each before it returns.
pub struct CpuBackend {
    team: Team,
    isa: Chosen,
    activations: Activations,
    experts: experts::Scratch,
    attention: attention::Scratch,
    angles: Angles,
    rooms: sample::Rooms,
    /// The token last drawn at each seat.
    seats: Vec<u32>,
    /// What the sequence at each seat has said.
    tallies: Vec<Tally>,
    /// What was drawn in this step.
    drawn: Vec<Drew>,
    /// The input tokens of this step.
    tokens: Vec<u32>,
    /// How many steps were staged.
    serial: u64,
    /// When the last step ended, and how long after that this one began.
    ended: Option<Instant>,
    gap: Duration,
    /// The other ranks, if there are any.
    peer: Option<Peer>,
    /// The first error, kept until somebody waits.
    fault: Option<BackendError>,
}

impl CpuBackend {
    /// A backend on `threads` threads, the calling one among them; 0 is one for each core. Uses the
    /// widest instructions that the machine has.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self::with_isa(threads, isa()).expect("the machine has what was found")
    }

    /// A backend that uses `isa`; `None` if the machine doesn't have it.
    #[must_use]
    pub fn with_isa(threads: usize, isa: Isa) -> Option<Self> {
        let isa = choose(isa)?;
        let cores = || available_parallelism().map_or(1, NonZero::get);
        let team = Team::new(if threads == 0 { cores() } else { threads });
        let threads = team.threads();
        Some(Self {
            team,
            isa,
            activations: Activations::default(),
            experts: experts::Scratch::default(),
            attention: attention::Scratch::new(threads),
            angles: Angles::default(),
            rooms: sample::Rooms::new(threads),
            seats: Vec::new(),
            tallies: Vec::new(),
            drawn: Vec::new(),
            tokens: Vec::new(),
            serial: 0,
            ended: None,
            gap: Duration::ZERO,
            peer: None,
            fault: None,
        })
    }

    /// The same backend, before it is asked for anything, with inputs of this type.
    #[must_use]
    pub fn with_activations(self, kind: ActivationType) -> Self {
        let (activations, experts) = (Activations::new(kind), experts::Scratch::new(kind));
        Self { activations, experts, ..self }
    }

    /// The same backend, before it is asked for anything, as one of several ranks.
    #[must_use]
    pub fn with_peer(self, peer: Peer) -> Self {
        Self { peer: Some(peer), ..self }
    }

    /// Brings together what all ranks have.
    fn exchange(&mut self, x: &Buffer, parts: &mut Buffer) {
        let peer = self.peer.as_ref().expect("who is alone is not asked");
        if let Err(error) = peer.exchange(x, parts) {
            self.fault.get_or_insert(error);
        }
    }

    /// Number of threads, the calling one among them.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.team.threads()
    }
}

impl Backend for CpuBackend {
    type Buffer = Buffer;
    type Vector = Vector;
    type Matrix = Matrix;
    type Experts = Experts;
    type Routes = Routes;
    type Cache = Cache;
    type Step = Step;
    type Event = Done;

    fn rank(&self) -> Rank {
        self.peer.as_ref().map_or(Rank::ALONE, Peer::rank)
    }

    fn buffer(&mut self, rows: usize, width: usize) -> Result<Buffer, BackendError> {
        // Any buffer may become the input of a product.
        self.activations.reserve(rows, width)?;
        Buffer::new(rows, width)
    }

    fn vector(&mut self, values: &[f32]) -> Result<Vector, BackendError> {
        Vector::new(values)
    }

    fn matrix(&mut self, parts: &[Tensor<'_>]) -> Result<Matrix, BackendError> {
        Matrix::new(&self.team, parts)
    }

    fn experts(&mut self, experts: &[Vec<Tensor<'_>>]) -> Result<Experts, BackendError> {
        let experts = Experts::new(&self.team, experts)?;
        self.experts.reserve_inputs(experts.inputs())?;
        Ok(experts)
    }

    fn routes(&mut self, rows: usize, router: Router) -> Result<Routes, BackendError> {
        self.experts.reserve_choices(rows.saturating_mul(router.chosen))?;
        Routes::new(rows, router, self.rank().share(router.experts))
    }

    fn cache(&mut self, shape: CacheShape) -> Result<Cache, BackendError> {
        self.attention.reserve(shape.dim);
        Cache::new(shape)
    }

    fn cache_bytes(shape: CacheShape) -> usize {
        Cache::bytes(shape)
    }

    fn step(
        &mut self,
        rows_max: usize,
        tokens_max: usize,
        blocks_max: usize,
        _vocab: usize,
    ) -> Result<Step, BackendError> {
        self.seats.resize(self.seats.len().max(rows_max), 0);
        self.tallies.resize(self.seats.len(), Tally::default());
        self.tokens.reserve(tokens_max);
        Ok(Step::new(rows_max, tokens_max, blocks_max))
    }

    fn stage(&mut self, layout: &StepLayout, step: &mut Step) {
        self.gap = self.ended.map_or(Duration::ZERO, |ended| ended.elapsed());
        self.team.wake();
        self.serial += 1;
        self.drawn.clear();
        tally::begin(layout, &mut self.tallies);
        step.stage(layout, self.serial);
    }

    fn embed(&mut self, table: &Matrix, step: &Step, scale: f32, out: &mut Buffer) {
        resolve(&step.layout, &self.seats, &mut self.tokens);
        embed(&self.team, (table, &self.tokens, scale), out);
    }

    fn rms_norm(&mut self, x: &Buffer, weight: &Vector, eps: f32, out: &mut Buffer) {
        rms_norm(&self.team, self.isa, (x, weight, eps), out);
    }

    fn add_rms_norm(
        &mut self,
        x: &Buffer,
        residual: &mut Buffer,
        weight: &Vector,
        eps: f32,
        out: &mut Buffer,
    ) {
        add(&self.team, x, residual);
        rms_norm(&self.team, self.isa, (residual, weight, eps), out);
    }

    fn linear(&mut self, x: &Buffer, weight: &Matrix, bias: Option<&Vector>, out: &mut Buffer) {
        linear(&self.team, self.isa, &mut self.activations, (x, weight, bias), out);
    }

    fn head_rms_norm(
        &mut self,
        qkv: &mut Buffer,
        heads: Heads,
        query: &Vector,
        key: &Vector,
        eps: f32,
    ) {
        head_rms_norm(&self.team, self.isa, (heads, query, key, eps), qkv);
    }

    fn rope_and_store(
        &mut self,
        qkv: &mut Buffer,
        step: &Step,
        heads: Heads,
        rope: &Rope,
        cache: &mut Cache,
    ) {
        rope_and_store(&self.team, self.isa, &mut self.angles, (step, heads, rope), qkv, cache);
    }

    fn attend(
        &mut self,
        qkv: &Buffer,
        step: &Step,
        shape: AttentionShape,
        cache: &Cache,
        out: &mut Buffer,
    ) {
        let input = (qkv, step, shape, cache);
        attend(&self.team, self.isa, &mut self.attention, input, out);
    }

    fn gated(&mut self, gate_up: &Buffer, activation: Activation, out: &mut Buffer) {
        gated(&self.team, self.isa, (gate_up, activation), out);
    }

    fn route(&mut self, scores: &Buffer, router: Router, routes: &mut Routes) {
        route(&self.team, self.isa, (scores, router), routes);
    }

    fn expert_linear(
        &mut self,
        x: &Buffer,
        input: ExpertInput,
        weight: &Experts,
        routes: &Routes,
        out: &mut Buffer,
    ) {
        let scratch = (&mut self.activations, &mut self.experts);
        expert_linear(&self.team, self.isa, scratch, (x, input, weight, routes), out);
    }

    fn combine(&mut self, x: &Buffer, routes: &Routes, out: &mut Buffer) {
        combine(&self.team, self.isa, (x, routes), out);
    }

    fn add_gated(&mut self, x: &Buffer, gate: &Buffer, out: &mut Buffer) {
        add_gated(&self.team, self.isa, (x, gate), out);
    }

    fn all_reduce(&mut self, x: &mut Buffer, parts: &mut Buffer) {
        self.exchange(x, parts);
        ranks::sum(self.rank().of(), parts, x);
    }

    fn all_gather(&mut self, x: &Buffer, parts: &mut Buffer, out: &mut Buffer) {
        self.exchange(x, parts);
        ranks::join(self.rank().of(), parts, out);
    }

    fn gather(&mut self, x: &Buffer, step: &Step, out: &mut Buffer) {
        gather(x, &step.layout, out);
    }

    fn sample(&mut self, logits: &Buffer, step: &Step) {
        let input = (logits, &step.layout, &self.tallies[..]);
        sample(&self.team, self.isa, &self.rooms, input, &mut self.drawn);
        for (sample, drew) in step.layout.samples.iter().zip(&self.drawn) {
            // A sequence whose logits were not finite is beyond use: any token will do for it.
            let token = drew.token.unwrap_or(0);
            self.seats[sample.seat] = token;
            if sample.draw.penalties.is_some() {
                self.tallies[sample.seat].count(token);
            }
        }
    }

    fn record(&mut self, _: &Step) -> Done {
        let mut drawn = Drawn { gap: self.gap, ..Drawn::default() };
        for Drew { token, logprobs } in self.drawn.drain(..) {
            drawn.tokens.push(token);
            drawn.logprobs.extend(logprobs);
        }
        self.ended = Some(Instant::now());
        Done(self.fault.clone().map_or(Ok(drawn), Err))
    }
}
