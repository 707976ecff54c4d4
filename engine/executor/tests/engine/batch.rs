//! A sequence's tokens are the same alone and in any batch, however its prompt was cut.

use engine::{BackendExecutor, Config, ModelFile};
use engine_backend::Backend;
use engine_contract::{Bias, Executor, Outcome, Sampling, TokenId};
use engine_cpu::CpuBackend;

use crate::blocks::{F32, Q4_1, Q4_K};
use crate::dice::Dice;
use crate::driver::{Cuts, Driver, Job};
use crate::naive::{Naive, Rounding};
use crate::tiny::{self, Elements, Family, VOCAB};

const ALONE: Cuts = Cuts { depth: 1, chunk_max: usize::MAX, running_max: 1 };

fn jobs(number: usize, sampling: fn(u64) -> Sampling, dice: &mut Dice) -> Vec<Job> {
    let mut job = |seed| Job {
        prompt: (0..1 + dice.below(60)).map(|_| dice.below(VOCAB as usize) as u32).collect(),
        outputs: 1 + dice.below(12),
        sampling: sampling(seed),
    };
    (0..number as u64).map(&mut job).collect()
}

fn check<B: Backend>(backend: B, elements: Elements, sampling: fn(u64) -> Sampling) {
    check_family(Family::Llama, backend, elements, sampling);
}

fn check_family<B: Backend>(
    family: Family,
    backend: B,
    elements: Elements,
    sampling: fn(u64) -> Sampling,
) {
    let (_folder, path) = tiny::saved(&tiny::of(family, elements, 3));
    let file = ModelFile::open(&path).expect("a whole model");
    let config = Config { rows_max: 12, step_tokens_max: 64, block_size: 8, ..Config::default() };
    let mut executor = BackendExecutor::new(backend, &file, &config).expect("room for it");
    let jobs = jobs(24, sampling, &mut Dice::new(1));
    let alone = Driver::sample(&mut executor, &jobs, ALONE, 0, 0);
    assert!(alone.iter().zip(&jobs).all(|(drawn, job)| drawn.len() == job.outputs));
    let cuts = [
        Cuts { depth: 1, chunk_max: 7, running_max: 5 },
        Cuts { depth: 2, chunk_max: 1, running_max: 12 },
        Cuts { depth: 2, chunk_max: 64, running_max: 12 },
        Cuts { depth: 3, chunk_max: 33, running_max: 9 },
    ];
    for (nth, cuts) in (1..).zip(cuts) {
        let together = Driver::sample(&mut executor, &jobs, cuts, nth, nth * 1_000_000);
        assert_eq!(together, alone, "batching {nth} changes tokens");
    }
}

#[test]
fn plain_loops_do_not_care_how_steps_are_cut() {
    check(Naive::new(Rounding::None), Elements::all(F32), |_| Sampling::GREEDY);
}

#[test]
fn the_cpu_does_not_care_how_steps_are_cut() {
    check(CpuBackend::new(2), Elements::all(Q4_1), |_| Sampling::GREEDY);
    check(CpuBackend::new(1), Elements::all(F32), |_| Sampling::GREEDY);
}

#[test]
fn neighbours_of_llama_do_not_care_how_steps_are_cut() {
    for family in Family::ALL {
        check_family(family, CpuBackend::new(2), Elements::all(Q4_K), |_| Sampling::GREEDY);
    }
}

#[test]
fn chance_is_the_sequence_s_own() {
    check(CpuBackend::new(2), Elements::all(Q4_1), |seed| Sampling {
        temperature: 1.0,
        top_k: 50,
        top_p: 0.95,
        min_p: 0.01,
        seed,
        ..Sampling::GREEDY
    });
}

/// Some with penalties and biases, some with log-probabilities, some with neither.
fn wishes(nth: u64) -> Sampling {
    let penalised = !nth.is_multiple_of(3);
    let bias = |token| Bias { token: TokenId(token), bias: token as f32 / 100.0 - 1.0 };
    Sampling {
        repetition_penalty: if penalised { 1.2 } else { 1.0 },
        frequency_penalty: if penalised { 0.3 } else { 0.0 },
        presence_penalty: if penalised { 0.1 } else { 0.0 },
        biases: if nth % 5 == 4 { [3, 50, 200].map(bias).to_vec() } else { Vec::new() },
        logprobs: (nth % 4 > 1).then_some(3),
        ..Sampling::GREEDY
    }
}

#[test]
fn what_was_said_is_the_sequence_s_own() {
    check(Naive::new(Rounding::None), Elements::all(F32), wishes);
    check(CpuBackend::new(2), Elements::all(Q4_1), |nth| Sampling {
        temperature: 0.8,
        seed: nth,
        ..wishes(nth)
    });
}

#[test]
fn what_is_not_finite_ends_its_own_sequence_alone() {
    let mut model = tiny::tiny(Elements::all(F32), 3);
    let poisoned = 7_usize;
    let embedding = &mut model.tensors[0];
    assert_eq!(embedding.name, "token_embd.weight");
    let row = embedding.data.len() / VOCAB as usize;
    embedding.data[poisoned * row..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    // The embedding is the output product too: give that its own, or every logit row has a NaN.
    let (_folder, path) = tiny::saved(&with_output(model));
    let file = ModelFile::open(&path).unwrap();
    let config = Config { step_tokens_max: 64, ..Config::default() };
    let mut executor = BackendExecutor::new(CpuBackend::new(2), &file, &config).unwrap();

    let clean = |length: u32| (0..length).map(|token| 10 + token).collect::<Vec<_>>();
    let job = |prompt| Job { prompt, outputs: 3, sampling: Sampling::GREEDY };
    let cuts = Cuts { depth: 1, chunk_max: 16, running_max: 3 };
    let quiet = Driver::run(&mut executor, &[job(clean(9)), job(clean(30))], cuts, 1, 0);
    let ill = [clean(4), vec![poisoned as u32], clean(5)].concat();
    let jobs = [job(clean(9)), job(ill), job(clean(30))];
    let drawn = Driver::run(&mut executor, &jobs, cuts, 2, 1000);
    assert_eq!(drawn[1], [Outcome::NotFinite; 3]);
    assert_eq!([&drawn[0], &drawn[2]], [&quiet[0], &quiet[1]]);
    let finite = |outcome: &Outcome| *outcome != Outcome::NotFinite;
    assert!(quiet.iter().flatten().all(finite));
    // The seat, and its blocks, are good for the next sequence.
    let again = Driver::run(&mut executor, &[job(clean(9)), job(clean(30))], cuts, 3, 2000);
    assert_eq!(again, quiet);
}

fn with_output(mut model: crate::writer::Writer) -> crate::writer::Writer {
    let output = tiny::tiny(Elements { output: Some(F32), ..Elements::all(F32) }, 4);
    let output = output.tensors.into_iter().find(|tensor| tensor.name == "output.weight");
    model.tensors.push(output.expect("it has one"));
    model
}

#[test]
fn a_step_without_draws_has_none() {
    use engine_contract::{
        BlockId, Row, RowTokens, SeatId, SequenceId, StepId, StepPlan, Stop, TableChange,
    };
    let (_folder, path) = tiny::saved(&tiny::tiny(Elements::all(F32), 3));
    let file = ModelFile::open(&path).unwrap();
    let mut executor = BackendExecutor::new(CpuBackend::new(1), &file, &Config::default()).unwrap();
    let row = Row {
        sequence: SequenceId(0),
        seat: SeatId(0),
        start: 0,
        tokens: RowTokens::Host([TokenId(1), TokenId(2)].into(), 0..2),
        table: TableChange::Fresh(vec![BlockId(0)]),
        sample: None,
        num_prompt: 2,
    };
    for rows in [vec![row], vec![]] {
        let plan = StepPlan { step: StepId(9), rows, stop: Stop::Empty };
        let output = executor.launch(plan).unwrap().wait().unwrap();
        assert_eq!((output.step, output.sampled), (StepId(9), vec![]));
    }
}
