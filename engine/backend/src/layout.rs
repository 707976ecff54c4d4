//! The host side of one step: prepared once, then only read.

use std::ops::Range;

/// Most biases of a tally.
pub const BIASES_MAX: usize = 1024;

/// Most alternatives that a draw may ask for.
pub const LOGPROBS_MAX: u32 = 20;

/// Where everything of a step is. `T` positions over all rows, in row order.
///
/// The vectors are recycled from step to step; their lengths tell the sizes.
#[derive(Clone, Debug, Default)]
pub struct StepLayout {
    /// `[T]` input token ids. An entry named in `inherits` is overwritten on the device.
    pub tokens: Vec<u32>,
    /// `[T]` position in its sequence of each input token.
    pub positions: Vec<u32>,
    /// `[T]` cache slot (`block * block_size + offset`) that each position's key and value go to.
    pub slots: Vec<u32>,
    /// One for each row.
    pub spans: Vec<Span>,
    /// The block tables of all rows, one after the other; spans point in here.
    pub blocks: Vec<u32>,
    /// Inputs that the device has and the host has not.
    pub inherits: Vec<Inherit>,
    /// Rows that draw a token, in row order.
    pub samples: Vec<Sample>,
    /// Seats whose tally begins anew before anything of this step is drawn.
    pub tallies: Vec<Tally>,
    /// The texts of those seats' sequences, one after the other; tallies point in here.
    pub texts: Vec<u32>,
    /// And their biases, by ascending token for each.
    pub biases: Vec<Bias>,
}

/// One row of a step: the positions `start..start + len` of one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The row's place in the `[T]` vectors.
    pub tokens: Range<usize>,
    /// Position of its first token; as many are in the cache before it.
    pub start: usize,
    /// The row's block table, in [`StepLayout::blocks`]; covers `start + len` positions.
    pub blocks: Range<usize>,
}

/// An input token that is the last one sampled at a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inherit {
    /// Index into the `[T]` vectors.
    pub token: usize,
    /// The seat whose last sampled token it is.
    pub seat: usize,
}

/// A row that draws a token from the logits of its last position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Index into the `[T]` vectors of the row's last position.
    pub token: usize,
    /// The seat that remembers the drawn token.
    pub seat: usize,
    /// Position that the drawn token will have.
    pub position: u32,
    /// How to draw.
    pub draw: Draw,
}

/// What the sequence at a seat has said so far. From there on the device keeps the tally: it counts
/// every token that a row with [`Draw::penalties`] draws at the seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Whose tally.
    pub seat: usize,
    /// The whole text, in [`StepLayout::texts`].
    pub text: Range<usize>,
    /// How many tokens of it were given; the others were drawn.
    pub num_prompt: usize,
    /// The sequence's biases, in [`StepLayout::biases`].
    pub biases: Range<usize>,
}

/// What is added to the logit of a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bias {
    /// Which token.
    pub token: u32,
    /// How much; finite.
    pub bias: f32,
}

/// How to draw a token; see the contract's `Sampling` for the meaning and the order of the filters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// 0 is greedy.
    pub temperature: f32,
    /// 0 keeps all.
    pub top_k: u32,
    /// 1 keeps all.
    pub top_p: f32,
    /// 0 keeps all.
    pub min_p: f32,
    /// Seed of the draws; the position is the counter.
    pub seed: u64,
    /// How logits are adjusted by the seat's tally, its biases included, before anything else;
    /// `None`: not at all.
    pub penalties: Option<Penalties>,
    /// How many alternatives' log-probabilities are wanted beside that of the drawn token; `None`:
    /// not even that.
    pub logprobs: Option<u32>,
}

/// What a tally costs; see the contract's `Sampling`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Penalties {
    /// 1 changes nothing.
    pub repetition: f32,
    /// 0 changes nothing.
    pub frequency: f32,
    /// 0 changes nothing.
    pub presence: f32,
}

/// What a tally knows of one token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Said {
    /// How often it was drawn.
    pub drawn: u32,
    /// Whether the prompt has it.
    pub given: bool,
    /// What is added to its logit.
    pub bias: f32,
}

impl Draw {
    /// The most likely token, and nothing else.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        seed: 0,
        penalties: None,
        logprobs: None,
    };
}

impl Penalties {
    /// The logit of a token of which this was said. Operations in single precision and in this
    /// order, so that every device gives the same.
    #[must_use]
    pub fn adjust(&self, logit: f32, said: Said) -> f32 {
        let mut logit = logit + said.bias;
        if said.given || said.drawn > 0 {
            let shrinks = logit > 0.0;
            logit = if shrinks { logit / self.repetition } else { logit * self.repetition };
        }
        if said.drawn > 0 {
            logit = logit - self.frequency * said.drawn as f32 - self.presence;
        }
        logit.clamp(f32::MIN, f32::MAX)
    }
}

impl StepLayout {
    /// Empties every vector, and keeps their memory.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.slots.clear();
        self.spans.clear();
        self.blocks.clear();
        self.inherits.clear();
        self.samples.clear();
        self.tallies.clear();
        self.texts.clear();
        self.biases.clear();
    }
}
