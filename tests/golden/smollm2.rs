//! The demo model against `transformers`, which reads the same file and computes in single
//! precision.

use engine::{ActivationType, BackendExecutor, KvType, ModelFile};
use engine_backend::Backend;
use engine_cpu::CpuBackend;
use tests::demo_model::demo_model;

use crate::continuation::{self, Case};
use crate::driver::{Cuts, Driver};
use crate::forced;
use crate::naive::{Naive, Rounding};
use crate::reference;

/// Activations become bytes before they meet the quantised weights, thirty layers deep. Where the
/// reference's first choice leads by more than this, the CPU makes the same.
const DOUBT: f32 = 0.5;

pub(crate) fn cases() -> Vec<Case> {
    continuation::cases(include_str!("smollm2.json"))
}

pub(crate) fn engine<B: Backend>(backend: B) -> BackendExecutor<B> {
    let file = ModelFile::open(&demo_model()).expect("a sound file");
    reference::engine(backend, &file, KvType::F16)
}

/// Reader, weights and decoder have no error of their own: plain loops in single precision give the
/// reference's logits, and its tokens.
#[test]
fn the_decoder_is_the_reference_s() {
    let mut engine = engine(Naive::new(Rounding::None));
    let cases = cases();
    let texts: Vec<_> = cases.iter().take(2).map(|case| case.text(2)).collect();
    let found = forced::logits(&mut engine, &texts, |rows| &rows.values);
    for (case, found) in cases.iter().zip(&found) {
        let error = case.error(found, 0.0);
        assert!(error.largest < 1e-3, "{}: {error:?}", case.name);
    }
}

#[test]
fn forced_logits_are_near_the_reference_s() {
    let mut engine = engine(CpuBackend::new(0));
    let cases = cases();
    let texts: Vec<_> = cases.iter().map(|case| case.text(case.greedy.len())).collect();
    let found = forced::logits(&mut engine, &texts, |buffer| buffer.values());
    for (case, found) in cases.iter().zip(&found) {
        let error = case.error(found, DOUBT);
        assert!(error.mean < 0.5 && error.largest < 1.25, "{}: {error:?}", case.name);
    }
}

#[test]
fn greedy_texts_are_the_reference_s_while_it_has_no_doubt() {
    let cases = cases();
    let jobs: Vec<_> = cases.iter().map(Case::job).collect();
    let cuts = Cuts { depth: 2, chunk_max: 64, running_max: jobs.len() };
    let drawn = Driver::run(&mut engine(CpuBackend::new(0)), &jobs, cuts, 1, 0);
    let equal =
        cases.iter().zip(&drawn).filter(|(case, drawn)| case.is_equal(drawn, DOUBT)).count();
    let sure = cases.iter().filter(|case| case.is_sure(DOUBT)).count();
    assert!(sure >= 4, "the references include texts without doubt");
    assert!(equal * 2 >= cases.len(), "{equal} of {} texts are equal", cases.len());
}

/// Where inputs have two bytes and the cache keeps its digits, every text is the reference's.
#[test]
fn two_bytes_are_enough_for_every_text() {
    let cases = cases();
    let jobs: Vec<_> = cases.iter().map(Case::job).collect();
    let file = ModelFile::open(&demo_model()).expect("a sound file");
    let backend = CpuBackend::new(0).with_activations(ActivationType::Int16);
    let mut engine = reference::engine(backend, &file, KvType::F32);
    let cuts = Cuts { depth: 2, chunk_max: 64, running_max: jobs.len() };
    for (case, drawn) in cases.iter().zip(&Driver::run(&mut engine, &jobs, cuts, 1, 0)) {
        assert!(case.is_equal(drawn, 0.0), "{}", case.name);
    }
}
