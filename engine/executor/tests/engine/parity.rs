//! The CPU backend against plain loops: the logits of whole models.

use std::sync::Arc;

use engine::{BackendExecutor, Config, ModelFile};
use engine_backend::Backend;
use engine_contract::{
    BlockId, Executor, Outcome, Row, RowTokens, Sampling, SeatId, SequenceId, StepId, StepPlan,
    Stop, TableChange, TokenId,
};
use engine_cpu::CpuBackend;

use crate::blocks::{F16, F32, PLAIN, Q4_1, Q4_K, Q6_K, Q8_0, QUANTISED};
use crate::dice::Dice;
use crate::naive::{Naive, Rounding};
use crate::tiny::{self, Elements, Family, VOCAB};

const LENGTH: usize = 40;

/// Teacher-forced logits at every position, and the greedy draws.
fn logits<B: Backend>(
    backend: B,
    file: &ModelFile,
    values: fn(&B::Buffer) -> &[f32],
) -> Vec<(Vec<f32>, Outcome)> {
    let mut executor =
        BackendExecutor::new(backend, file, &Config::default()).expect("a model that can run");
    let mut dice = Dice::new(5);
    let text: Arc<[TokenId]> =
        (0..LENGTH).map(|_| TokenId(dice.below(VOCAB as usize) as u32)).collect();
    let blocks = [3, 0, 2].map(BlockId);
    let mut all = Vec::new();
    for position in 0..LENGTH {
        let table = if position == 0 {
            TableChange::Fresh(blocks.to_vec())
        } else {
            TableChange::Extend(vec![])
        };
        let row = Row {
            sequence: SequenceId(0),
            seat: SeatId(1),
            start: position as u32,
            tokens: RowTokens::Host(text.clone(), position..position + 1),
            table,
            sample: Some(Arc::new(Sampling::GREEDY)),
            num_prompt: LENGTH as u32,
        };
        let plan = StepPlan { step: StepId(position as u64), rows: vec![row], stop: Stop::Empty };
        let ticket = executor.launch(plan).expect("a working engine");
        let output = ticket.wait().expect("a working engine");
        all.push((values(executor.logits()).to_vec(), output.sampled[0].outcome));
    }
    all
}

/// How far logits are from those of plain loops, in standard deviations of a position's logits.
struct Error {
    /// The root of the mean square.
    mean: f32,
    largest: f32,
}

fn compare(family: Family, elements: Elements, rounding: Rounding) -> Error {
    let (_folder, path) = tiny::saved(&tiny::of(family, elements, 11));
    let file = ModelFile::open(&path).expect("a whole model");
    let expected = logits(Naive::new(rounding), &file, |rows| &rows.values);
    let found = logits(CpuBackend::new(2), &file, |buffer| buffer.values());
    let (mut largest, mut squares, mut number) = (0.0_f32, 0.0, 0);
    for ((expected, token), (found, drawn)) in expected.iter().zip(&found) {
        let spread = spread(expected);
        let errors = || expected.iter().zip(found).map(|(a, b)| (a - b).abs() / spread);
        let most = errors().fold(0.0, f32::max);
        if margin(expected) / spread > 2.0 * most {
            assert_eq!(token, drawn, "{elements:?}");
        }
        largest = largest.max(most);
        squares += errors().map(|error| error * error).sum::<f32>();
        number += expected.len();
    }
    Error { mean: (squares / number as f32).sqrt(), largest }
}

fn spread(logits: &[f32]) -> f32 {
    let mean = logits.iter().sum::<f32>() / logits.len() as f32;
    (logits.iter().map(|logit| (logit - mean).powi(2)).sum::<f32>() / logits.len() as f32).sqrt()
}

fn margin(logits: &[f32]) -> f32 {
    let mut sorted = logits.to_vec();
    sorted.sort_by(f32::total_cmp);
    sorted[sorted.len() - 1] - sorted[sorted.len() - 2]
}

/// Both round in the same places. What is left is the order of sums, and whatever a sum that
/// differs in its last bit moves across a tie: halves in the cache, and bytes, which are coarse.
#[test]
fn the_cpu_computes_what_it_should() {
    let mixed = [
        Elements { embedding: Q8_0, output: Some(Q6_K), attention: Q4_1, value: Q6_K, mlp: F16 },
        Elements { embedding: F16, output: Some(F32), attention: F32, value: Q8_0, mlp: Q4_1 },
    ];
    let plain = PLAIN.map(Elements::all);
    let quantised = QUANTISED.map(Elements::all);
    let all = plain.into_iter().map(|elements| (elements, 5e-4, 5e-3));
    let all =
        all.chain(quantised.into_iter().chain(mixed).map(|elements| (elements, 2e-2, 1.5e-1)));
    for (elements, mean_max, largest_max) in all {
        let Error { mean, largest } = compare(Family::Llama, elements, Rounding::Served);
        assert!(mean < mean_max && largest < largest_max, "{elements:?}: {mean:e} {largest:e}");
        assert!(largest > 0.0, "two computations of their own, and not one bit differs");
    }
}

#[test]
fn neighbours_of_llama_are_computed_as_they_should_be() {
    for family in Family::ALL {
        for (code, mean_max, largest_max) in [(F32, 1e-4, 1e-3), (Q4_K, 2e-2, 1.5e-1)] {
            let Error { mean, largest } = compare(family, Elements::all(code), Rounding::Served);
            assert!(mean < mean_max && largest < largest_max, "{family:?}: {mean:e} {largest:e}");
            assert!(largest > 0.0, "two computations of their own, and not one bit differs");
        }
    }
}

#[test]
fn experts_of_every_type_are_computed_as_they_should_be() {
    for code in QUANTISED {
        let elements = Elements::all(code);
        let Error { mean, largest } = compare(Family::Qwen3Moe, elements, Rounding::Served);
        assert!(mean < 3e-2 && largest < 5e-1, "{code}: {mean:e} {largest:e}");
        assert!(largest > 0.0, "two computations of their own, and not one bit differs");
    }
}

/// What halves in the cache cost, and nothing else.
#[test]
fn halves_cost_little() {
    for code in PLAIN {
        let Error { mean, largest } = compare(Family::Llama, Elements::all(code), Rounding::None);
        assert!(mean < 2e-3 && largest < 1e-2, "{code}: {mean:e} {largest:e}");
    }
}

/// What bf16 in products costs, as devices with tensor cores round: against the CPU, which rounds
/// nothing but what it keeps.
#[test]
fn halves_in_products_cost_more() {
    for code in PLAIN {
        let Error { mean, largest } = compare(Family::Llama, Elements::all(code), Rounding::Bf16);
        assert!(mean < 3e-2 && largest < 1.5e-1, "{code}: {mean:e} {largest:e}");
        assert!(mean > 1e-4, "it does cost something");
    }
}

/// What bytes cost on top: activations meet quantised weights with seven bits and a sign.
#[test]
fn bytes_cost_more() {
    for code in QUANTISED {
        let Error { mean, largest } = compare(Family::Llama, Elements::all(code), Rounding::None);
        assert!(mean < 6e-2 && largest < 1.0, "{code}: {mean:e} {largest:e}");
    }
}
