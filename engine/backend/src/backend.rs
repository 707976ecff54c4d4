//! The trait that a device implements.

use std::time::Duration;

use crate::{
    Activation, AttentionShape, BackendError, CacheShape, DType, DeviceMemory, ExpertInput, Heads,
    Rank, Rope, Router, StepLayout, Tensor,
};

/// Computes a step's operations, in the order they are called.
///
/// Loading allocates and may fail. Step-time operations neither allocate nor fail nor wait: a
/// device error is kept and reported by [`Event::wait`], and a wrong shape is a bug and asserts.
/// Every operation sets the row count of its output from that of its input.
///
/// An output row depends only on its own input row (and, in attention, on its own sequence's
/// cache): the order of every reduction is fixed, so a sequence's tokens are the same alone and in
/// any batch, however its prompt was cut into chunks.
pub trait Backend: Sized + 'static {
    /// Activations, `[rows, width]`; `rows` changes from step to step, up to its capacity.
    type Buffer;
    /// A vector of f32: norm weights, biases.
    type Vector;
    /// A linear weight in the backend's own layout.
    type Matrix;
    /// A linear weight of every expert of a layer.
    type Experts;
    /// Which experts the positions of a step chose, and with which weights.
    type Routes;
    /// Keys and values of one layer.
    type Cache;
    /// A [`StepLayout`] as the device holds it.
    type Step;
    /// The end of a step.
    type Event: Event;

    /// Which of the devices that compute together this is.
    fn rank(&self) -> Rank;

    // Loading.

    /// Activations for at most `rows` rows.
    ///
    /// # Errors
    /// Out of memory.
    fn buffer(&mut self, rows: usize, width: usize) -> Result<Self::Buffer, BackendError>;

    /// A vector of f32.
    ///
    /// # Errors
    /// Out of memory.
    fn vector(&mut self, values: &[f32]) -> Result<Self::Vector, BackendError>;

    /// A weight whose outputs are those of `parts`, one part after the other; all have the same
    /// `cols`, each its own type. Quantised weights stay quantised.
    ///
    /// # Errors
    /// An unsupported type; out of memory.
    fn matrix(&mut self, parts: &[Tensor<'_>]) -> Result<Self::Matrix, BackendError>;

    /// The same for a weight that decides who computes or is looked up: one that is not rounded to
    /// fewer bits, even if others are.
    ///
    /// # Errors
    /// An unsupported type; out of memory.
    fn exact_matrix(&mut self, parts: &[Tensor<'_>]) -> Result<Self::Matrix, BackendError> {
        self.matrix(parts)
    }

    /// A weight for each expert of the rank's share, made of its parts as [`Self::matrix`] makes
    /// one. All experts have parts of the same shapes.
    ///
    /// # Errors
    /// An unsupported type; out of memory.
    fn experts(&mut self, experts: &[Vec<Tensor<'_>>]) -> Result<Self::Experts, BackendError>;

    /// Room for the choices of at most `rows` positions.
    ///
    /// # Errors
    /// Out of memory.
    fn routes(&mut self, rows: usize, router: Router) -> Result<Self::Routes, BackendError>;

    /// The empty cache of one layer.
    ///
    /// # Errors
    /// An unsupported type; out of memory.
    fn cache(&mut self, shape: CacheShape) -> Result<Self::Cache, BackendError>;

    /// Bytes that [`Self::cache`] takes for this shape.
    #[must_use]
    fn cache_bytes(shape: CacheShape) -> usize;

    /// Room for the layout of any step within these sizes, and for tallies over `vocab` tokens.
    ///
    /// # Errors
    /// Out of memory.
    fn step(
        &mut self,
        rows_max: usize,
        tokens_max: usize,
        blocks_max: usize,
        vocab: usize,
    ) -> Result<Self::Step, BackendError>;

    /// Memory of the device; `None` where it is the machine's own, which nobody has for himself.
    ///
    /// # Errors
    /// The device's.
    fn memory(&self) -> Result<Option<DeviceMemory>, BackendError> {
        Ok(None)
    }

    /// Bytes that [`Self::matrix`] takes for a part of this type and these sizes.
    #[must_use]
    fn matrix_bytes(&self, dtype: DType, rows: usize, cols: usize) -> usize {
        dtype.row_bytes(cols).unwrap_or(0).saturating_mul(rows)
    }

    /// The same for [`Self::exact_matrix`].
    #[must_use]
    fn exact_matrix_bytes(&self, dtype: DType, rows: usize, cols: usize) -> usize {
        self.matrix_bytes(dtype, rows, cols)
    }

    /// Bytes that [`Self::step`] takes on the device, with caches of this shape.
    #[must_use]
    fn step_bytes(
        _rows_max: usize,
        _tokens_max: usize,
        _blocks_max: usize,
        _vocab: usize,
        _cache: CacheShape,
    ) -> usize {
        0
    }

    // A step.

    /// Runs the operations of a staged step, which `body` calls.
    ///
    /// For steps whose sizes came before, a device may launch what it noted then instead. So `body`
    /// calls the same operations on the same buffers for every step: only what the layout says may
    /// differ.
    fn run(&mut self, _step: &Self::Step, body: impl FnOnce(&mut Self)) {
        body(self);
    }

    /// Brings a layout to the device.
    fn stage(&mut self, layout: &StepLayout, step: &mut Self::Step);

    /// `out[t] = table[tokens[t]] * scale`, inherited tokens resolved. `out` has `T` rows
    /// afterwards.
    fn embed(
        &mut self,
        table: &Self::Matrix,
        step: &Self::Step,
        scale: f32,
        out: &mut Self::Buffer,
    );

    /// `out = x / sqrt(mean(x^2) + eps) * weight`, row by row.
    fn rms_norm(
        &mut self,
        x: &Self::Buffer,
        weight: &Self::Vector,
        eps: f32,
        out: &mut Self::Buffer,
    );

    /// `residual += x`, then `out = rms_norm(residual)`.
    fn add_rms_norm(
        &mut self,
        x: &Self::Buffer,
        residual: &mut Self::Buffer,
        weight: &Self::Vector,
        eps: f32,
        out: &mut Self::Buffer,
    );

    /// `out = x weight^T + bias`, row by row.
    fn linear(
        &mut self,
        x: &Self::Buffer,
        weight: &Self::Matrix,
        bias: Option<&Self::Vector>,
        out: &mut Self::Buffer,
    );

    /// Norms the query and key heads of fused projections in place, each head by itself over its
    /// `dim` elements: `x = x / sqrt(mean(x^2) + eps) * weight`, where `weight`, `dim` long, is
    /// `query` for all query heads and `key` for all key heads. Values stay as they are.
    fn head_rms_norm(
        &mut self,
        qkv: &mut Self::Buffer,
        heads: Heads,
        query: &Self::Vector,
        key: &Self::Vector,
        eps: f32,
    );

    /// Turns the queries and keys of fused projections by their positions, and writes keys and
    /// values to their slots in the cache.
    fn rope_and_store(
        &mut self,
        qkv: &mut Self::Buffer,
        step: &Self::Step,
        heads: Heads,
        rope: &Rope,
        cache: &mut Self::Cache,
    );

    /// `out = softmax(q k^T * scale) v` over each position's own sequence up to and including
    /// itself, or the end of that which the window lets it see.
    fn attend(
        &mut self,
        qkv: &Self::Buffer,
        step: &Self::Step,
        shape: AttentionShape,
        cache: &Self::Cache,
        out: &mut Self::Buffer,
    );

    /// `out[i] = activation(gate_up[i]) * gate_up[width + i]`, where `gate_up` is `2 * width` wide.
    fn gated(&mut self, gate_up: &Self::Buffer, activation: Activation, out: &mut Self::Buffer);

    /// Chooses the experts of every position from its row of `scores`, one score for each expert:
    /// `weights = softmax(scores)` over all experts, of which the `chosen` largest count, of equal
    /// ones the first. Choices are then in the order of experts, and of positions for each.
    fn route(&mut self, scores: &Self::Buffer, router: Router, routes: &mut Self::Routes);

    /// `out[c] = x[c] weight[expert of c]^T` for every choice `c` of an expert of the rank's share;
    /// with [`ExpertInput::Positions`] it is `x[position of c]`. Experts that nobody chose are not
    /// read.
    fn expert_linear(
        &mut self,
        x: &Self::Buffer,
        input: ExpertInput,
        weight: &Self::Experts,
        routes: &Self::Routes,
        out: &mut Self::Buffer,
    );

    /// `out[t] = sum of weight[c] * x[c]` over those choices of position `t` that are of experts of
    /// the rank's share, the one of the largest weight first.
    fn combine(&mut self, x: &Self::Buffer, routes: &Self::Routes, out: &mut Self::Buffer);

    // Operations that follow one another in every model, for backends that can do better than one
    // after the other. What is between is written or not; nobody reads it afterwards.

    /// [`Self::linear`] without a bias, then [`Self::gated`].
    fn gated_linear(
        &mut self,
        x: &Self::Buffer,
        weight: &Self::Matrix,
        activation: Activation,
        between: &mut Self::Buffer,
        out: &mut Self::Buffer,
    ) {
        self.linear(x, weight, None, between);
        self.gated(between, activation, out);
    }

    /// [`Self::linear`] without a bias, then [`Self::route`] by what it gives.
    fn route_linear(
        &mut self,
        x: &Self::Buffer,
        weight: &Self::Matrix,
        scores: &mut Self::Buffer,
        router: Router,
        routes: &mut Self::Routes,
    ) {
        self.linear(x, weight, None, scores);
        self.route(scores, router, routes);
    }

    /// [`Self::expert_linear`] of positions, then [`Self::gated`].
    fn expert_gated(
        &mut self,
        x: &Self::Buffer,
        weight: &Self::Experts,
        routes: &Self::Routes,
        activation: Activation,
        between: &mut Self::Buffer,
        out: &mut Self::Buffer,
    ) {
        self.expert_linear(x, ExpertInput::Positions, weight, routes, between);
        self.gated(between, activation, out);
    }

    /// [`Self::expert_linear`] of choices, then [`Self::combine`].
    fn expert_sum(
        &mut self,
        x: &Self::Buffer,
        weight: &Self::Experts,
        routes: &Self::Routes,
        between: &mut Self::Buffer,
        out: &mut Self::Buffer,
    ) {
        self.expert_linear(x, ExpertInput::Choices, weight, routes, between);
        self.combine(between, routes, out);
    }

    /// `out[t] += x[t] * sigmoid(gate[t])`, where `gate` is one element wide.
    fn add_gated(&mut self, x: &Self::Buffer, gate: &Self::Buffer, out: &mut Self::Buffer);

    /// `x = sum of x over all ranks`, the first rank's first, so that all have the same bits.
    /// `parts` is as wide as `x`, with room for the rows of all ranks.
    ///
    /// All ranks call this and [`Self::all_gather`] in the same order, with the same shapes. One
    /// that is alone is not asked.
    fn all_reduce(&mut self, x: &mut Self::Buffer, parts: &mut Self::Buffer);

    /// `out[t] = x[t] of the first rank | x[t] of the second | ...`. `parts` is as wide as `x`,
    /// with room for the rows of all ranks.
    fn all_gather(&mut self, x: &Self::Buffer, parts: &mut Self::Buffer, out: &mut Self::Buffer);

    /// `out[s] = x[samples[s].token]`: keeps the positions that draw. `out` has as many rows as the
    /// step has samples.
    fn gather(&mut self, x: &Self::Buffer, step: &Self::Step, out: &mut Self::Buffer);

    /// Draws a token from each row of logits, one row for each sample, and remembers it at its
    /// seat, in its tally too if the row has penalties. The logits stay as they are.
    fn sample(&mut self, logits: &Self::Buffer, step: &Self::Step);

    /// Marks the end of the step; its tokens can be waited for.
    fn record(&mut self, step: &Self::Step) -> Self::Event;
}

/// The end of a step, waited for on any thread.
pub trait Event: Send + 'static {
    /// Blocks until the step has ended, and says what it drew.
    ///
    /// # Errors
    /// The first device error of the step.
    fn wait(self) -> Result<Drawn, BackendError>;
}

/// What a step drew.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawn {
    /// For each sample its token, `None` where the logits were not finite.
    pub tokens: Vec<Option<u32>>,
    /// For each sample that asked for them and has a token.
    pub logprobs: Vec<Logprobs>,
    /// From the end of the step before to the begin of this one, on the device; zero for the first.
    pub gap: Duration,
}

/// Logarithms of probabilities, of the softmax of the logits as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// Of the drawn token.
    pub drawn: f32,
    /// Of the most likely tokens, as many as were asked for and there are: the most likely first,
    /// and of equal ones the lowest id.
    pub top: Vec<(u32, f32)>,
}
