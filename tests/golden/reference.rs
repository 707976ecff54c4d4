//! Small models of chance: what `transformers` computes for them at every position that is asked
//! for, and how far something else is from it.

use std::path::{Path, PathBuf};

use engine::{BackendExecutor, Config, KvType, ModelFile};
use engine_backend::Backend;
use engine_cpu::CpuBackend;
use serde_json::Value;

use crate::forced::{self, Text, largest};
use crate::naive::{Naive, Rounding};

/// A text, and the reference's logits after some of its tokens.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) tokens: Vec<u32>,
    /// The positions of those tokens.
    at: Vec<usize>,
    logits: Vec<Vec<f32>>,
    /// How the reference goes on, where that is known.
    pub(crate) greedy: Vec<u32>,
}

/// How far logits are off, relative to the root mean square of the reference's.
#[derive(Debug)]
pub(crate) struct Error {
    /// The root of the mean square.
    pub(crate) mean: f32,
    pub(crate) largest: f32,
}

pub(crate) fn cases(json: &str) -> Vec<Case> {
    let cases: Value = serde_json::from_str(json).expect("is JSON");
    let case = |case: &Value| Case {
        name: case["name"].as_str().expect("a name").to_owned(),
        tokens: ids(&case["tokens"]),
        at: ids(&case["at"]).into_iter().map(|at| at as usize).collect(),
        logits: case["logits"].as_array().expect("rows").iter().map(numbers).collect(),
        greedy: case.get("greedy").map(ids).unwrap_or_default(),
    };
    cases.as_array().expect("cases").iter().map(case).collect()
}

pub(crate) fn ids(row: &Value) -> Vec<u32> {
    numbers(row).into_iter().map(|token| token as u32).collect()
}

pub(crate) fn numbers(row: &Value) -> Vec<f32> {
    let numbers = row.as_array().expect("numbers").iter();
    numbers.map(|number| number.as_f64().expect("a number") as f32).collect()
}

/// A model in the folder of references.
pub(crate) fn open(path: &str) -> ModelFile {
    let path = self::path(path);
    ModelFile::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Where that is.
pub(crate) fn path(path: &str) -> PathBuf {
    // What cargo says at run time counts: a test's binary may have been built elsewhere.
    let tests = std::env::var_os("CARGO_MANIFEST_DIR");
    let tests = tests.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(tests).join("golden").join(Path::new(path))
}

/// Logits after every token of a text, through plain loops.
pub(crate) fn plain(file: &ModelFile, text: Text, rounding: Rounding) -> Vec<Vec<f32>> {
    let mut engine = engine(Naive::new(rounding), file, KvType::F16);
    forced::logits(&mut engine, &[text], |rows| &rows.values).remove(0)
}

/// Logits after every token of a text, on the CPU.
pub(crate) fn served(file: &ModelFile, text: Text, kv_type: KvType) -> Vec<Vec<f32>> {
    let mut engine = engine(CpuBackend::new(2), file, kv_type);
    forced::logits(&mut engine, &[text], |buffer| buffer.values()).remove(0)
}

pub(crate) fn engine<B: Backend>(
    backend: B,
    file: &ModelFile,
    kv_type: KvType,
) -> BackendExecutor<B> {
    let config = Config { kv_type, step_tokens_max: 1024, ..Config::default() };
    BackendExecutor::new(backend, file, &config).expect("a model that can run")
}

impl Case {
    /// The text and all that the reference goes on with but its last token, after which nothing is
    /// asked; one by one from the first token on.
    pub(crate) fn text(&self) -> Text {
        let told = &self.greedy[..self.greedy.len().saturating_sub(1)];
        Text { tokens: [&self.tokens, told].concat(), first: 1 }
    }

    /// How far logits after every token are from the reference's, where those are known. Where they
    /// would draw another token than the reference, that one was no further behind.
    pub(crate) fn error(&self, found: &[Vec<f32>]) -> Error {
        assert!(found.len() >= self.tokens.len() && self.at.len() == self.logits.len());
        let size = root_mean_square(self.logits.iter().flatten().copied());
        let found: Vec<_> = self.at.iter().map(|at| &found[*at]).collect();
        let pairs = self.logits.iter().flatten().zip(found.iter().copied().flatten());
        let errors = pairs.map(|(expected, found)| (expected - found) / size);
        let most = errors.clone().fold(0.0, |most: f32, error| most.max(error.abs()));
        for (expected, found) in self.logits.iter().zip(&found) {
            let (token, drawn) = (largest(expected) as usize, largest(found) as usize);
            let behind = (expected[token] - expected[drawn]) / size;
            assert!(behind <= 2.0 * most, "{}: {drawn} drawn for {token}", self.name);
        }
        Error { mean: root_mean_square(errors), largest: most }
    }

    /// What would be drawn after the text and after every further token of the reference.
    pub(crate) fn drawn(&self, found: &[Vec<f32>]) -> Vec<u32> {
        found[self.tokens.len() - 1..].iter().map(|logits| largest(logits)).collect()
    }
}

fn root_mean_square(values: impl Iterator<Item = f32> + Clone) -> f32 {
    let number = values.clone().count();
    (values.map(|value| value * value).sum::<f32>() / number as f32).sqrt()
}
