//! How the next token is drawn.

/// Parameters of one sequence's sampling, already validated.
///
/// The filters apply in this order, to the softmax of `logits / temperature`: `top_k`, then
/// `top_p`, then `min_p`; the token is drawn from what is left, renormalised. The draw is a pure
/// function of the logits, of `seed` and of the position, so the same request gives the same tokens
/// whatever it shared its batch with, and also after it was preempted and recomputed.
#[derive(Clone, Copy, Debug, PartialEq)]
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
}

impl Sampling {
    /// Always the most likely token.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 0 };

    /// As likely as the model has it: nothing is sharpened, and no token left out.
    pub const PLAIN: Self = Self { temperature: 1.0, ..Self::GREEDY };
}
