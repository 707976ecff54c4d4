//! Small llamas, Qwen2s and Qwen3s: every logit against `transformers` in single precision.

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
    /// How the reference goes on, where that is known.
    greedy: Vec<u32>,
}

/// How far logits are off, relative to the root mean square of the reference's.
#[derive(Debug)]
struct Error {
    /// The root of the mean square.
    mean: f32,
    largest: f32,
}

fn cases() -> Vec<Case> {
    let references = [include_str!("tiny.json"), include_str!("tiny_qwen.json")];
    let references = references.map(|text| serde_json::from_str::<Value>(text).expect("is JSON"));
    let case = |case: &Value| Case {
        file: case["file"].as_str().expect("a name").to_owned(),
        tokens: ids(&case["tokens"]),
        logits: case["logits"].as_array().expect("rows").iter().map(numbers).collect(),
        greedy: case.get("greedy").map(ids).unwrap_or_default(),
    };
    let cases = references.iter().flat_map(|cases| cases.as_array().expect("cases"));
    let cases: Vec<_> = cases.map(case).collect();
    assert_eq!(cases.len(), 5 + 6);
    cases
}

fn ids(row: &Value) -> Vec<u32> {
    numbers(row).into_iter().map(|token| token as u32).collect()
}

fn numbers(row: &Value) -> Vec<f32> {
    let numbers = row.as_array().expect("numbers").iter();
    numbers.map(|number| number.as_f64().expect("a number") as f32).collect()
}

impl Case {
    /// The text and all that the reference goes on with but its last token, after which nothing is
    /// asked.
    fn greedy_text(&self) -> [Text; 1] {
        let told = &self.greedy[..self.greedy.len() - 1];
        [Text { tokens: [&self.tokens, told].concat(), first: self.tokens.len() }]
    }

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

/// Through plain loops, every token of the reference's greedy continuation is the one that is drawn
/// after those before, and so it is on the CPU where weights are plain. Where bytes meet quantised
/// weights a near tie may go the other way: how near is what the test before this one bounds.
#[test]
fn greedy_continuations_are_the_reference_s() {
    let cases = cases().into_iter().filter(|case| !case.greedy.is_empty());
    let mut number = 0;
    for case in cases {
        let (file, text, config) = (case.open(), case.greedy_text(), Config::default());
        let drawn = |found: &[Vec<f32>]| -> Vec<u32> {
            found.iter().map(|logits| largest(logits)).collect()
        };
        let naive = BackendExecutor::new(Naive::new(Rounding::None), &file, &config);
        let mut naive = naive.expect("a model that can run");
        let plain = forced::logits(&mut naive, &text, |rows| &rows.values).remove(0);
        assert_eq!(drawn(&plain), case.greedy, "{}", case.file);
        number += 1;
        if case.file.contains("-f") {
            let cpu = BackendExecutor::new(CpuBackend::new(2), &file, &config);
            let mut cpu = cpu.expect("a model that can run");
            let served = forced::logits(&mut cpu, &text, |buffer| buffer.values()).remove(0);
            assert_eq!(drawn(&served), case.greedy, "{}", case.file);
        }
    }
    assert_eq!(number, 6);
}
