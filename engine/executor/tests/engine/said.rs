//! What draws mean: the text so far, and the most likely token after it.

use engine_backend::{Bias, Draw, Logprobs, StepLayout, Tally};

/// What the sequence at a seat has said.
#[derive(Clone, Default)]
pub(crate) struct Text {
    prompt: Vec<u32>,
    output: Vec<u32>,
    biases: Vec<Bias>,
}

impl Text {
    pub(crate) fn new(layout: &StepLayout, tally: &Tally) -> Self {
        let (prompt, output) = layout.texts[tally.text.clone()].split_at(tally.num_prompt);
        let biases = layout.biases[tally.biases.clone()].to_vec();
        Self { prompt: prompt.to_vec(), output: output.to_vec(), biases }
    }

    /// The most likely token, which is said from then on, and what was asked about it; `None` where
    /// logits are not finite.
    pub(crate) fn draw(&mut self, logits: &[f32], draw: &Draw) -> Option<(u32, Option<Logprobs>)> {
        largest(logits)?;
        let token = largest(&self.adjusted(logits, draw))?;
        self.output.push(token);
        Some((token, draw.logprobs.map(|top| logprobs(logits, token, top))))
    }

    fn adjusted(&self, logits: &[f32], draw: &Draw) -> Vec<f32> {
        let mut logits = logits.to_vec();
        let Some(penalties) = draw.penalties else { return logits };
        self.biases.iter().for_each(|bias| logits[bias.token as usize] += bias.bias);
        for (token, logit) in (0..).zip(&mut logits) {
            let times = self.output.iter().filter(|said| **said == token).count();
            if times > 0 || self.prompt.contains(&token) {
                let r = penalties.repetition;
                *logit = if *logit > 0.0 { *logit / r } else { *logit * r };
            }
            if times > 0 {
                *logit -= penalties.frequency * times as f32;
                *logit -= penalties.presence;
            }
        }
        logits
    }
}

fn logprobs(logits: &[f32], drawn: u32, top: u32) -> Logprobs {
    let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
    let logprob = |token: u32| (f64::from(logits[token as usize]) - sum.ln()) as f32;
    let mut tokens: Vec<_> = (0..logits.len() as u32).collect();
    // The sort keeps the order of equals.
    tokens.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    tokens.truncate(top as usize);
    Logprobs { drawn: logprob(drawn), top: tokens.iter().map(|&t| (t, logprob(t))).collect() }
}

fn largest(logits: &[f32]) -> Option<u32> {
    if !logits.iter().all(|logit| logit.is_finite()) {
        return None;
    }
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = token;
        }
    }
    Some(best as u32)
}
