//! Small llamas: every logit against `transformers` in single precision.

use std::path::PathBuf;

use engine::{BackendExecutor, Config, ModelFile};
use engine_cpu::CpuBackend;
use serde_json::Value;

use crate::forced::{self, Text, largest};
use crate::naive::{Naive, Rounding};

struct Case {
    file: String,
    tokens: Vec<u32>,
    /// After each token.
    logits: Vec<Vec<f32>>,
}

/// How far logits are off, relative to the root mean square of the reference's.
#[derive(Debug)]
struct Error {
    /// The root of the mean square.
    mean: f32,
    largest: f32,
}

fn cases() -> Vec<Case> {
    let reference: Value = serde_json::from_str(include_str!("tiny.json")).expect("is JSON");
    let case = |case: &Value| Case {
        file: case["file"].as_str().expect("a name").to_owned(),
        tokens: numbers(&case["tokens"]).into_iter().map(|token| token as u32).collect(),
        logits: case["logits"].as_array().expect("rows").iter().map(numbers).collect(),
    };
    let cases: Vec<_> = reference.as_array().expect("cases").iter().map(case).collect();
    assert_eq!(cases.len(), 5);
    cases
}

fn numbers(row: &Value) -> Vec<f32> {
    let numbers = row.as_array().expect("numbers").iter();
    numbers.map(|number| number.as_f64().expect("a number") as f32).collect()
}

impl Case {
    fn open(&self) -> ModelFile {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden");
        ModelFile::open(&folder.join(&self.file)).expect("a sound file")
    }

    fn text(&self, first: usize) -> [Text; 1] {
        [Text { tokens: self.tokens.clone(), first }]
    }

    fn error(&self, found: &[Vec<f32>]) -> Error {
        assert_eq!(found.len(), self.logits.len());
        let size = root_mean_square(self.logits.iter().flatten().copied());
        let pairs = self.logits.iter().flatten().zip(found.iter().flatten());
        let errors = pairs.map(|(expected, found)| (expected - found) / size);
        let largest = errors.clone().fold(0.0, |most: f32, error| most.max(error.abs()));
        for (expected, found) in self.logits.iter().zip(found) {
            let (token, drawn) = (largest_of(expected), largest_of(found));
            let behind = (expected[token] - expected[drawn]) / size;
            assert!(behind <= 2.0 * largest, "{}: {drawn} drawn for {token}", self.file);
        }
        Error { mean: root_mean_square(errors), largest }
    }
}

fn largest_of(logits: &[f32]) -> usize {
    largest(logits) as usize
}

fn root_mean_square(values: impl Iterator<Item = f32> + Clone) -> f32 {
    let number = values.clone().count();
    (values.map(|value| value * value).sum::<f32>() / number as f32).sqrt()
}

/// Reader, weights and decoder have no error of their own: through plain loops, the reference's
/// logits come out to the last digits of single precision, whatever the weights' type.
#[test]
fn the_decoder_is_the_reference_s() {
    for case in cases() {
        let executor =
            BackendExecutor::new(Naive::new(Rounding::None), &case.open(), &Config::default());
        let mut engine = executor.expect("a model that can run");
        let found = forced::logits(&mut engine, &case.text(1), |rows| &rows.values).remove(0);
        let error = case.error(&found);
        assert!(error.largest < 1e-4, "{}: {error:?}", case.file);
    }
}

/// What the CPU adds: halves in the cache, and bytes where quantised weights are met. It is as near
/// to the reference as plain loops that round in the same places.
#[test]
fn the_cpu_is_near_the_reference() {
    for case in cases() {
        let config = Config::default();
        let rounding = BackendExecutor::new(Naive::new(Rounding::Served), &case.open(), &config);
        let mut rounding = rounding.expect("a model that can run");
        let cost = forced::logits(&mut rounding, &case.text(1), |rows| &rows.values).remove(0);
        let cost = case.error(&cost);

        let engine = BackendExecutor::new(CpuBackend::new(2), &case.open(), &config);
        let mut engine = engine.expect("a model that can run");
        let found = forced::logits(&mut engine, &case.text(1), |buffer| buffer.values()).remove(0);
        let error = case.error(&found);
        let most = if case.file.contains("-f") { 1e-3 } else { 5e-2 };
        assert!(error.mean < most, "{}: {error:?}", case.file);
        assert!(error.mean < 1.1 * cost.mean, "{}: {error:?}, but {cost:?}", case.file);

        // All at once is bit for bit the same as one by one.
        let whole = case.text(case.tokens.len());
        let at_once = forced::logits(&mut engine, &whole, |buffer| buffer.values()).remove(0);
        assert_eq!(at_once, found[found.len() - 1..]);
    }
}
