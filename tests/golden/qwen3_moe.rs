//! A small Qwen3-MoE that was trained on English, its weights Q4_K and Q6_K, against
//! `transformers`.

use engine::{ActivationType, BackendExecutor, KvType};
use engine_contract::{Outcome, TokenId};
use engine_cpu::CpuBackend;
use runtime_core::PrefixCache;

use crate::continuation::{self, Case};
use crate::driver::{Cuts, Driver, Job};
use crate::forced;
use crate::naive::{Naive, Rounding};
use crate::reference;
use crate::scheduled::Scheduled;

const FILE: &str = "qwen3_moe_tiny/model-q4_k_m.gguf";

/// Activations become bytes before they meet the quantised weights. Where the reference's first
/// choice leads by more than this, the CPU makes the same.
const DOUBT: f32 = 0.1;
/// So many texts come first that were picked because rounding leaves their tokens as they are.
const SURE: usize = 7;

fn cases() -> Vec<Case> {
    let cases = continuation::cases(include_str!("qwen3_moe_tiny/golden.json"));
    assert!(cases.iter().all(|case| case.greedy.len() == 64));
    assert!(cases.len() == 13 && cases[..SURE].iter().all(|case| case.is_sure(DOUBT)));
    cases
}

fn engine(kv_type: KvType, activations: ActivationType) -> BackendExecutor<CpuBackend> {
    let backend = CpuBackend::new(2).with_activations(activations);
    reference::engine(backend, &reference::open(FILE), kv_type)
}

/// What continues the prompts greedily, all of them together.
fn greedy(engine: &mut BackendExecutor<CpuBackend>, cases: &[Case]) -> Vec<Vec<Outcome>> {
    let jobs: Vec<_> = cases.iter().map(Case::job).collect();
    Driver::run(engine, &jobs, Cuts { depth: 2, chunk_max: 64, running_max: jobs.len() }, 1, 0)
}

/// Reader, weights, routing and decoder have no error of their own: through plain loops the
/// reference's logits come out, and every token of its greedy continuations.
#[test]
fn the_decoder_is_the_reference_s() {
    let mut engine =
        reference::engine(Naive::new(Rounding::None), &reference::open(FILE), KvType::F16);
    let cases = cases();
    let texts: Vec<_> = cases.iter().map(|case| case.text(case.greedy.len())).collect();
    let found = forced::logits(&mut engine, &texts, |rows| &rows.values);
    for (case, found) in cases.iter().zip(&found) {
        let error = case.error(found, 0.0);
        assert!(error.largest < 1e-3, "{}: {error:?}", case.name);
    }
}

/// What bf16 in products costs, as devices with tensor cores round. Now and then another expert is
/// chosen, and then a logit is far off, so that a token is lost of which the reference was sure.
#[test]
fn bf16_costs_an_expert_now_and_then() {
    let mut engine =
        reference::engine(Naive::new(Rounding::Bf16), &reference::open(FILE), KvType::F16);
    let cases = cases();
    let texts: Vec<_> = cases.iter().map(|case| case.text(case.greedy.len())).collect();
    let found = forced::logits(&mut engine, &texts, |rows| &rows.values);
    for (case, found) in cases.iter().zip(&found) {
        let error = case.error(found, f32::INFINITY);
        assert!(error.mean < 0.6, "{}: {error:?}", case.name);
    }
}

/// What bytes cost: no more than in plain loops that round in the same places, and no choice of
/// which the reference was sure. In other texts a rounding may tip the choice of an expert, and
/// with it much.
#[test]
fn forced_logits_are_near_the_reference_s() {
    let cases = cases();
    let texts: Vec<_> = cases.iter().map(|case| case.text(case.greedy.len())).collect();
    let file = reference::open(FILE);
    let mut rounded = reference::engine(Naive::new(Rounding::Served), &file, KvType::F16);
    let costs = forced::logits(&mut rounded, &texts, |rows| &rows.values);
    let mut engine = engine(KvType::F16, ActivationType::Int8);
    let found = forced::logits(&mut engine, &texts, |buffer| buffer.values());
    for (nth, (case, found)) in cases.iter().zip(&found).enumerate() {
        let doubt = if nth < SURE { DOUBT } else { f32::INFINITY };
        let (error, cost) = (case.error(found, doubt), case.error(&costs[nth], f32::INFINITY));
        assert!(error.mean < 0.6, "{}: {error:?}", case.name);
        assert!(error.mean < 1.5 * cost.mean, "{}: {error:?}, but {cost:?}", case.name);
    }
}

#[test]
fn greedy_texts_are_the_reference_s_where_it_has_no_doubt() {
    let sure = &cases()[..SURE];
    let drawn = greedy(&mut engine(KvType::F16, ActivationType::Int8), sure);
    for (case, drawn) in sure.iter().zip(&drawn) {
        assert!(case.is_equal(drawn, 0.0), "{}", case.name);
    }
}

/// Where inputs have two bytes and the cache keeps its digits, all logits are near and every text
/// is the reference's.
#[test]
fn two_bytes_are_enough_for_every_text() {
    let cases = cases();
    let texts: Vec<_> = cases.iter().map(|case| case.text(case.greedy.len())).collect();
    let mut engine = engine(KvType::F32, ActivationType::Int16);
    let found = forced::logits(&mut engine, &texts, |buffer| buffer.values());
    for (case, found) in cases.iter().zip(&found) {
        let error = case.error(found, 0.0);
        assert!(error.largest < 1e-2, "{}: {error:?}", case.name);
    }
    for (case, drawn) in cases.iter().zip(&greedy(&mut engine, &cases)) {
        assert!(case.is_equal(drawn, 0.0), "{}", case.name);
    }
}

/// The references' prompts, and more cut out of their texts: 32 sequences.
fn jobs(cases: &[Case]) -> Vec<Job> {
    let mut jobs: Vec<_> = cases.iter().map(Case::job).collect();
    for nth in jobs.len()..32 {
        let case = &cases[nth % cases.len()];
        let text = [&case.prompt[..], &case.greedy].concat();
        let prompt = text[nth / 3..nth / 3 + nth + 1].to_vec();
        jobs.push(Job { prompt, outputs: 20 + nth, ..case.job() });
    }
    jobs
}

/// Experts are chosen for each position, whoever else is in the step.
#[test]
fn tokens_do_not_depend_on_the_batch() {
    let mut engine = engine(KvType::F16, ActivationType::Int8);
    let jobs = jobs(&cases());
    let alone = Cuts { depth: 1, chunk_max: usize::MAX, running_max: 1 };
    let alone = Driver::run(&mut engine, &jobs, alone, 0, 0);
    let cuts = [
        Cuts { depth: 2, chunk_max: 512, running_max: 32 },
        Cuts { depth: 2, chunk_max: 5, running_max: 32 },
        Cuts { depth: 3, chunk_max: 33, running_max: 7 },
    ];
    for (nth, cuts) in (1..).zip(cuts) {
        let together = Driver::run(&mut engine, &jobs, cuts, nth, nth * 1_000_000);
        assert!(together == alone, "batching {nth} changes tokens");
    }
}

/// A sequence that lost its cache, or found another's, goes on as if nothing had been.
#[test]
fn tokens_survive_preemption_and_come_out_of_the_prefix_cache() {
    let mut engine = engine(KvType::F16, ActivationType::Int8);
    let jobs = jobs(&cases());
    let cuts = Cuts { depth: 1, chunk_max: usize::MAX, running_max: 1 };
    let alone: Vec<Vec<u32>> =
        Driver::run(&mut engine, &jobs, cuts, 0, 0).iter().map(|drawn| tokens(drawn)).collect();

    let mut tight = Scheduled::new(&mut engine, 40, PrefixCache::Off);
    assert!(tight.run(&jobs) == alone, "preemption changes tokens");
    assert!(tight.snapshot().preemptions_total > 0, "{:?}", tight.snapshot());

    let mut kept = Scheduled::new(&mut engine, 1000, PrefixCache::On);
    assert!(kept.run(&jobs) == alone, "the prefix cache changes tokens");
    let before = kept.snapshot().prefix_hit_total;
    assert!(kept.run(&jobs) == alone, "prompts found in the prefix cache change tokens");
    assert!(kept.snapshot().prefix_hit_total > before, "{:?}", kept.snapshot());
}

fn tokens(drawn: &[Outcome]) -> Vec<u32> {
    let token = |outcome: &Outcome| match outcome {
        Outcome::Token(TokenId(token)) => *token,
        Outcome::NotFinite => panic!("logits are finite here"),
    };
    drawn.iter().map(token).collect()
}
