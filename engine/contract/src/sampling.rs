//! How the next token is drawn.

use alloc::vec::Vec;

use crate::TokenId;

/// Most alternatives that a row may ask for beside its own token's probability.
pub const LOGPROBS_MAX: u32 = 20;

/// Most tokens of a sequence that have a bias.
pub const BIASES_MAX: usize = 1024;

/// Parameters of one sequence's sampling, already validated.
///
/// Logits are adjusted first: biases are added; then, for each token that the prompt or the output
/// has, the logit is divided by `repetition_penalty` if it is positive and multiplied with it if
/// not (Keskar et al., "CTRL", 2019); then `frequency_penalty` is taken off as often as the output
/// has the token, and `presence_penalty` once if it has it at all, as OpenAI defines both. What
/// comes of it is kept finite.
///
/// The filters apply in this order, to the softmax of `logits / temperature`: `top_k`, then
/// `top_p`, then `min_p`; the token is drawn from what is left, renormalised. The draw is a pure
/// function of the logits, of the text so far, of `seed` and of the position, so the same request
/// gives the same tokens whatever it shared its batch with, and also after it was preempted and
/// recomputed.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 is greedy: the largest logit, the lowest token id among equals.
    pub temperature: f32,
    /// Keep the `top_k` most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Of what `top_k` left, keep the smallest set of most likely tokens whose probabilities add up
    /// to this share; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least `min_p` times as likely as the most likely one; 0 keeps all.
    pub min_p: f32,
    /// Seed of the draws.
    pub seed: u64,
    /// Positive; 1 changes nothing.
    pub repetition_penalty: f32,
    /// 0 changes nothing.
    pub frequency_penalty: f32,
    /// 0 changes nothing.
    pub presence_penalty: f32,
    /// By ascending token, each once; at most [`BIASES_MAX`].
    pub biases: Vec<Bias>,
    /// Whether log-probabilities are wanted: of the drawn token, and of so many of the most likely
    /// ones, at most [`LOGPROBS_MAX`].
    pub logprobs: Option<u32>,
}

/// What is added to the logit of a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bias {
    /// Which token.
    pub token: TokenId,
    /// How much; finite.
    pub bias: f32,
}

impl Sampling {
    /// Always the most likely token.
    pub const GREEDY: Self = Self::at(0.0);

    /// As likely as the model has it: nothing is sharpened, and no token left out.
    pub const PLAIN: Self = Self::at(1.0);

    const fn at(temperature: f32) -> Self {
        Self {
            temperature,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            biases: Vec::new(),
            logprobs: None,
        }
    }

    /// Whether logits are adjusted before a token is drawn.
    #[must_use]
    pub fn adjusts(&self) -> bool {
        self.repetition_penalty != 1.0
            || self.frequency_penalty != 0.0
            || self.presence_penalty != 0.0
            || !self.biases.is_empty()
    }
}
