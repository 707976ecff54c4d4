//! A small model for every type of weights: logits against `transformers`, which computes in single
//! precision with the weights that the `gguf` package makes of the file's.

use engine::{ActivationType, KvType};
use engine_cpu::CpuBackend;

use crate::forced::{self, Text};
use crate::naive::Rounding;
use crate::reference::{self, Case};

const PLAIN: [&str; 3] = ["f32", "f16", "bf16"];

fn cases() -> Vec<Case> {
    let cases = reference::cases(include_str!("weight_types.json"));
    assert_eq!(cases.len(), 16);
    cases
}

fn file(case: &Case) -> String {
    format!("weight_types/{}.gguf", case.name)
}

/// Weights are what the reference makes of the same bytes: nothing is lost but the last digits of
/// single precision.
#[test]
fn weights_of_every_type_are_the_reference_s() {
    for case in cases() {
        let file = reference::open(&file(&case));
        let error = case.error(&reference::plain(&file, case.text(), Rounding::None));
        assert!(error.largest < 1e-4, "{}: {error:?}", case.name);
    }
}

/// What the CPU adds: halves in the cache, and bytes where quantised weights are met. It is as near
/// to the reference as plain loops that round in the same places.
#[test]
fn the_cpu_adds_what_bytes_cost() {
    for case in cases() {
        let file = reference::open(&file(&case));
        let cost = case.error(&reference::plain(&file, case.text(), Rounding::Served));
        let found = reference::served(&file, case.text(), KvType::F16);
        let error = case.error(&found);
        let most = if PLAIN.contains(&&*case.name) { 1e-3 } else { 5e-2 };
        assert!(error.mean < most, "{}: {error:?}", case.name);
        assert!(error.mean < 1.1 * cost.mean, "{}: {error:?}, but {cost:?}", case.name);

        let at_once = Text { first: case.tokens.len(), ..case.text() };
        let at_once = reference::served(&file, at_once, KvType::F16);
        assert_eq!(at_once, found[found.len() - 1..], "{}", case.name);
    }
}

/// Without halves in the cache, plain weights have the reference's logits.
#[test]
fn plain_weights_cost_nothing() {
    for case in cases().iter().filter(|case| PLAIN.contains(&&*case.name)) {
        let file = reference::open(&file(case));
        let error = case.error(&reference::served(&file, case.text(), KvType::F32));
        assert!(error.largest < 1e-4, "{}: {error:?}", case.name);
    }
}

/// With inputs of two bytes and a cache that keeps its digits, what is left is next to nothing.
#[test]
fn two_bytes_cost_little() {
    for case in cases() {
        let backend = CpuBackend::new(2).with_activations(ActivationType::Int16);
        let mut engine = reference::engine(backend, &reference::open(&file(&case)), KvType::F32);
        let found = forced::logits(&mut engine, &[case.text()], |buffer| buffer.values());
        let error = case.error(&found[0]);
        assert!(error.largest < 1e-3, "{}: {error:?}", case.name);
    }
}
