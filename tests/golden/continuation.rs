//! Trained models: how `transformers` goes on after prompts, how sure it is of every token, and its
//! largest logits at some of them.

use engine_contract::{Outcome, Sampling, TokenId};
use serde_json::Value;

use crate::driver::Job;
use crate::forced::{Text, largest};
use crate::reference::{ids, numbers};

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) prompt: Vec<u32>,
    pub(crate) greedy: Vec<u32>,
    /// How far the second choice was behind the first.
    margins: Vec<f32>,
    tops: Vec<Top>,
}

/// The largest logits at one position of the continuation.
struct Top {
    at: usize,
    ids: Vec<u32>,
    logits: Vec<f32>,
}

/// How far logits are from the reference's largest.
#[derive(Debug)]
pub(crate) struct Error {
    /// The root of the mean square.
    pub(crate) mean: f32,
    pub(crate) largest: f32,
}

pub(crate) fn cases(json: &str) -> Vec<Case> {
    let cases: Value = serde_json::from_str(json).expect("is JSON");
    let top = |top: &Value| Top {
        at: top["at"].as_u64().expect("a position") as usize,
        ids: ids(&top["ids"]),
        logits: numbers(&top["logits"]),
    };
    let case = |case: &Value| Case {
        name: case["name"].as_str().expect("a name").to_owned(),
        prompt: ids(&case["prompt"]),
        greedy: ids(&case["greedy"]),
        margins: numbers(&case["margins"]),
        tops: case["tops"].as_array().expect("positions").iter().map(top).collect(),
    };
    cases.as_array().expect("cases").iter().map(case).collect()
}

impl Case {
    /// The prompt at once, and then the reference's continuation, whatever the engine would have
    /// drawn.
    pub(crate) fn text(&self, outputs: usize) -> Text {
        let continuation = &self.greedy[..outputs - 1];
        Text { first: self.prompt.len(), tokens: [&self.prompt[..], continuation].concat() }
    }

    pub(crate) fn job(&self) -> Job {
        let (prompt, outputs) = (self.prompt.clone(), self.greedy.len());
        Job { prompt, outputs, sampling: Sampling::GREEDY }
    }

    /// Whether the reference's first choice leads by more than this everywhere.
    pub(crate) fn is_sure(&self, doubt: f32) -> bool {
        self.margins.iter().all(|margin| *margin > doubt)
    }

    /// How far the logits of the first positions are off, and that they would draw the reference's
    /// tokens wherever its first choice leads by more than `doubt`.
    pub(crate) fn error(&self, found: &[Vec<f32>], doubt: f32) -> Error {
        for (nth, (logits, token)) in found.iter().zip(&self.greedy).enumerate() {
            let drawn = largest(logits);
            let behind = logits[drawn as usize] - logits[*token as usize];
            let (name, margin) = (&self.name, self.margins[nth]);
            assert!(behind <= doubt, "{name} at {nth}: {token} is {behind} behind");
            let right = drawn == *token || margin <= doubt;
            assert!(right, "{name} at {nth}: {drawn} drawn for {token}, which led by {margin}");
        }
        let tops = self.tops.iter().filter(|top| top.at < found.len());
        let errors: Vec<_> = tops.flat_map(|top| top.errors(&found[top.at])).collect();
        let mean = errors.iter().map(|error| error * error).sum::<f32>() / errors.len() as f32;
        Error { mean: mean.sqrt(), largest: errors.iter().copied().fold(0.0, f32::max) }
    }

    /// Whether these are the reference's tokens. Where they are not, the first that differs is one
    /// of which the reference was not sure.
    pub(crate) fn is_equal(&self, drawn: &[Outcome], doubt: f32) -> bool {
        assert_eq!(drawn.len(), self.greedy.len());
        let differs = |(drawn, token): (&Outcome, &u32)| *drawn != Outcome::Token(TokenId(*token));
        let Some(first) = drawn.iter().zip(&self.greedy).position(differs) else { return true };
        let margin = self.margins[first];
        assert!(margin <= doubt, "{} differs at {first}, a lead of {margin}", self.name);
        false
    }
}

impl Top {
    fn errors(&self, found: &[f32]) -> impl Iterator<Item = f32> {
        self.ids.iter().zip(&self.logits).map(|(&id, logit)| (found[id as usize] - logit).abs())
    }
}
