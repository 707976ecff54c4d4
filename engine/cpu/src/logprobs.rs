//! Logarithms of probabilities, of the drawn token and of the most likely ones.

use engine_backend::Logprobs;

use crate::{
    sample::{Room, largest_finite, likelier, weigh},
    simd::{Kernel, Simd},
};

/// What is wanted of one row.
pub(crate) struct Wanted<'a> {
    /// Finite.
    pub(crate) logits: &'a [f32],
    pub(crate) drawn: u32,
    /// How many of the most likely tokens.
    pub(crate) top: u32,
    pub(crate) room: &'a mut Room,
}

impl Kernel for Wanted<'_> {
    type Output = Logprobs;

    #[inline(always)]
    fn call<S: Simd>(self, s: S) -> Logprobs {
        let Self { logits, drawn, top, room: Room { weights, ranking, .. } } = self;
        let largest = largest_finite(s, logits).expect("a token was drawn from them");
        weigh(s, logits, largest, 1.0, weights);
        // At least 1, the weight of the likeliest.
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let logprob = |token: u32| {
            (f64::from(logits[token as usize]) - f64::from(largest) - total.ln()) as f32
        };
        ranking.clear();
        let top = (top as usize).min(logits.len());
        if top > 0 {
            ranking.extend(0..logits.len() as u32);
            ranking.select_nth_unstable_by(top - 1, likelier(logits));
            ranking.truncate(top);
            ranking.sort_unstable_by(likelier(logits));
        }
        let top = ranking.iter().map(|token| (*token, logprob(*token))).collect();
        Logprobs { drawn: logprob(drawn), top }
    }
}
