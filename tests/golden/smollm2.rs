//! The demo model against `transformers`, which reads the same file and computes in single
//! precision.

use engine::{BackendExecutor, Config, ModelFile};
use engine_backend::Backend;
use engine_contract::{Outcome, Sampling, TokenId};
use engine_cpu::CpuBackend;
use serde_json::Value;
use tests::demo_model::demo_model;

use crate::driver::{Cuts, Driver, Job};
use crate::forced::{self, Text, largest};
use crate::naive::{Naive, Rounding};

/// Activations become bytes before they meet the quantised weights, thirty layers deep. Where the
/// reference's first choice leads by more than this, the CPU makes the same.
const DOUBT: f32 = 0.5;

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) prompt: Vec<u32>,
    pub(crate) greedy: Vec<u32>,
    /// How far the second choice was behind the first.
    margins: Vec<f32>,
    tops: Vec<Top>,
}

/// The ten largest logits at one position of the continuation.
struct Top {
    at: usize,
    ids: Vec<u32>,
    logits: Vec<f32>,
}

pub(crate) fn cases() -> Vec<Case> {
    let reference: Value = serde_json::from_str(include_str!("smollm2.json")).expect("is JSON");
    let ids = |value: &Value| numbers(value).into_iter().map(|id| id as u32).collect();
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
    reference.as_array().expect("cases").iter().map(case).collect()
}

fn numbers(value: &Value) -> Vec<f32> {
    let numbers = value.as_array().expect("numbers").iter();
    numbers.map(|number| number.as_f64().expect("a number") as f32).collect()
}

impl Case {
    /// The prompt at once, and then the reference's continuation, whatever the engine would have
    /// drawn.
    fn text(&self, outputs: usize) -> Text {
        let continuation = &self.greedy[..outputs - 1];
        Text { first: self.prompt.len(), tokens: [&self.prompt[..], continuation].concat() }
    }
}

pub(crate) fn engine<B: Backend>(backend: B) -> BackendExecutor<B> {
    let file = ModelFile::open(&demo_model()).expect("a sound file");
    BackendExecutor::new(backend, &file, &Config::default()).expect("a model that can run")
}

/// Reader, weights and decoder have no error of their own: plain loops in single precision give the
/// reference's logits, and its tokens.
#[test]
fn the_decoder_is_the_reference_s() {
    const OUTPUTS: usize = 2;
    let mut engine = engine(Naive::new(Rounding::None));
    let cases = cases();
    let texts: Vec<_> = cases.iter().take(2).map(|case| case.text(OUTPUTS)).collect();
    let found = forced::logits(&mut engine, &texts, |rows| &rows.values);
    for (case, found) in cases.iter().zip(&found) {
        for (logits, token) in found.iter().zip(&case.greedy) {
            assert_eq!(largest(logits), *token, "{}", case.name);
        }
        for top in case.tops.iter().filter(|top| top.at < OUTPUTS) {
            let worst = top.errors(&found[top.at]).fold(0.0, f32::max);
            assert!(worst < 1e-3, "{} at {}: {worst:e}", case.name, top.at);
        }
    }
}

#[test]
fn forced_logits_are_near_the_reference_s() {
    let mut engine = engine(CpuBackend::new(0));
    let cases = cases();
    let texts: Vec<_> = cases.iter().map(|case| case.text(case.greedy.len())).collect();
    let found = forced::logits(&mut engine, &texts, |buffer| buffer.values());
    for (case, found) in cases.iter().zip(&found) {
        for (nth, (logits, token)) in found.iter().zip(&case.greedy).enumerate() {
            let drawn = largest(logits);
            let behind = logits[drawn as usize] - logits[*token as usize];
            assert!(behind <= DOUBT, "{} at {nth}: {token} is {behind} behind", case.name);
            assert!(
                drawn == *token || case.margins[nth] <= DOUBT,
                "{} at {nth}: {drawn} drawn for {token}",
                case.name
            );
        }
        let errors = || case.tops.iter().flat_map(|top| top.errors(&found[top.at]));
        let number = errors().count() as f32;
        let mean = (errors().map(|error| error * error).sum::<f32>() / number).sqrt();
        let worst = errors().fold(0.0, f32::max);
        assert!(mean < 0.5 && worst < 1.25, "{}: {mean} and {worst}", case.name);
    }
}

#[test]
fn greedy_texts_are_the_reference_s_while_it_has_no_doubt() {
    let cases = cases();
    let jobs: Vec<_> = cases
        .iter()
        .map(|case| Job {
            prompt: case.prompt.clone(),
            outputs: case.greedy.len(),
            sampling: Sampling::GREEDY,
        })
        .collect();
    let cuts = Cuts { depth: 2, chunk_max: 64, running_max: jobs.len() };
    let drawn = Driver::run(&mut engine(CpuBackend::new(0)), &jobs, cuts, 1, 0);
    let mut equal = 0;
    for (case, drawn) in cases.iter().zip(&drawn) {
        let differs = |(drawn, token): (&Outcome, &u32)| *drawn != Outcome::Token(TokenId(*token));
        let Some(first) = drawn.iter().zip(&case.greedy).position(differs) else {
            equal += 1;
            continue;
        };
        let margin = case.margins[first];
        assert!(margin <= DOUBT, "{} differs at {first}, a lead of {margin}", case.name);
    }
    let sure = cases.iter().filter(|case| case.margins.iter().all(|margin| *margin > DOUBT));
    assert!(sure.count() >= 4, "the references include texts without doubt");
    assert!(equal * 2 >= cases.len(), "{equal} of {} texts are equal", cases.len());
}

impl Top {
    fn errors(&self, found: &[f32]) -> impl Iterator<Item = f32> {
        self.ids.iter().zip(&self.logits).map(|(&id, logit)| (found[id as usize] - logit).abs())
    }
}
