//! What the sequence at each seat has said so far, and what that does to its logits.

use std::collections::BTreeMap;

use engine_backend::{Penalties, Said, StepLayout};

/// Tokens that were said or have a bias.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(BTreeMap<u32, Said>);

impl Tally {
    /// Adjusts the logits of all tokens that the tally knows.
    pub(crate) fn adjust(&self, penalties: &Penalties, logits: &mut [f32]) {
        for (token, said) in &self.0 {
            let logit = &mut logits[*token as usize];
            *logit = penalties.adjust(*logit, *said);
        }
    }

    /// A token was drawn.
    pub(crate) fn count(&mut self, token: u32) {
        self.0.entry(token).or_default().drawn += 1;
    }
}

/// Begins the tallies that a layout tells anew.
pub(crate) fn begin(layout: &StepLayout, seats: &mut [Tally]) {
    for tally in &layout.tallies {
        let Tally(said) = &mut seats[tally.seat];
        said.clear();
        for (position, token) in layout.texts[tally.text.clone()].iter().enumerate() {
            let said = said.entry(*token).or_default();
            if position < tally.num_prompt {
                said.given = true;
            } else {
                said.drawn += 1;
            }
        }
        for bias in &layout.biases[tally.biases.clone()] {
            said.entry(bias.token).or_default().bias = bias.bias;
        }
    }
}
