//! Gemma 3 270M (Q4_K_M) against `transformers`, where someone has the file: `ANTIPHON_GEMMA3`
//! names it.

use engine::{ActivationType, KvType, ModelFile};
use engine_cpu::CpuBackend;

use crate::continuation::{self, Case};
use crate::driver::{Cuts, Driver};
use crate::forced;
use crate::naive::{Naive, Rounding};
use crate::reference;

/// Activations become bytes before they meet the quantised weights, eighteen layers deep. Where the
/// reference's first choice leads by more than this, the CPU makes the same.
const DOUBT: f32 = 0.5;

fn cases() -> Vec<Case> {
    let cases = continuation::cases(include_str!("gemma3_270m.json"));
    assert!(cases.iter().any(|case| case.prompt.len() > 512), "one is longer than a window");
    cases
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
fn file() -> Option<ModelFile> {
    let Some(path) = std::env::var_os("ANTIPHON_GEMMA3") else {
        println!("skipped: ANTIPHON_GEMMA3 names no file of Gemma 3 270M, Q4_K_M");
        return None;
    };
    Some(ModelFile::open(path.as_ref()).expect("a sound file"))
}

/// Reader, weights and decoder have no error of their own: plain loops in single precision give the
/// reference's logits, and its tokens.
#[test]
fn the_decoder_is_the_reference_s() {
    let Some(file) = file() else { return };
    let mut engine = reference::engine(Naive::new(Rounding::None), &file, KvType::F16);
    let cases = cases();
    let short: Vec<_> = cases.iter().filter(|case| case.prompt.len() < 15).collect();
    let texts: Vec<_> = short.iter().map(|case| case.text(2)).collect();
    let found = forced::logits(&mut engine, &texts, |rows| &rows.values);
    for (case, found) in short.iter().zip(&found) {
        let error = case.error(found, 0.0);
        assert!(error.largest < 1e-3, "{}: {error:?}", case.name);
    }
}

/// What bytes cost. Keys and values keep their digits here: at one position in a hundred of the
/// long text, halves tip what a head looks at.
#[test]
fn forced_logits_are_near_the_reference_s() {
    let Some(file) = file() else { return };
    let mut engine = reference::engine(CpuBackend::new(0), &file, KvType::F32);
    let cases = cases();
    for case in &cases {
        let texts = [case.text(case.greedy.len())];
        let found = forced::logits(&mut engine, &texts, |buffer| buffer.values());
        let error = case.error(&found[0], DOUBT);
        assert!(error.mean < 0.4 && error.largest < 1.0, "{}: {error:?}", case.name);
    }
}

#[test]
fn greedy_texts_are_the_reference_s_while_it_has_no_doubt() {
    let Some(file) = file() else { return };
    let mut engine = reference::engine(CpuBackend::new(0), &file, KvType::F16);
    let cases = cases();
    let jobs: Vec<_> = cases.iter().map(Case::job).collect();
    let cuts = Cuts { depth: 2, chunk_max: 256, running_max: jobs.len() };
    let drawn = Driver::run(&mut engine, &jobs, cuts, 1, 0);
    let equal =
        cases.iter().zip(&drawn).filter(|(case, drawn)| case.is_equal(drawn, DOUBT)).count();
    assert!(equal * 2 >= cases.len(), "{equal} of {} texts are equal", cases.len());
}

/// Where inputs have two bytes and the cache keeps its digits, logits are near and every text is
/// the reference's.
#[test]
fn two_bytes_are_enough_for_every_text() {
    let Some(file) = file() else { return };
    let backend = CpuBackend::new(0).with_activations(ActivationType::Int16);
    let mut engine = reference::engine(backend, &file, KvType::F32);
    let cases = cases();
    for case in &cases {
        let texts = [case.text(case.greedy.len())];
        let found = forced::logits(&mut engine, &texts, |buffer| buffer.values());
        let error = case.error(&found[0], 0.0);
        assert!(error.largest < 1e-2, "{}: {error:?}", case.name);
    }
    let jobs: Vec<_> = cases.iter().map(Case::job).collect();
    let cuts = Cuts { depth: 2, chunk_max: 256, running_max: jobs.len() };
    for (case, drawn) in cases.iter().zip(&Driver::run(&mut engine, &jobs, cuts, 1, 0)) {
        assert!(case.is_equal(drawn, 0.0), "{}", case.name);
    }
}
