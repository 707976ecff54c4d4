use engine_backend::{Backend, Draw, Sample, StepLayout};

use super::*;
use crate::{CpuBackend, Isa, random::uniform};

const ALL: Draw = Draw { temperature: 1.0, seed: 7, ..Draw::GREEDY };

fn available() -> impl Iterator<Item = CpuBackend> {
    let isas = [Isa::Portable, Isa::Avx2, Isa::Avx512Vnni];
    isas.into_iter().filter_map(|isa| CpuBackend::with_isa(2, isa))
}

/// Draws for rows of logits, each at its own position.
fn draw(backend: &mut CpuBackend, rows: &[&[f32]], draw: Draw) -> Vec<Option<u32>> {
    let width = rows[0].len();
    let mut logits = backend.buffer(rows.len(), width).unwrap();
    logits.set_rows(rows.len());
    logits.values_mut().copy_from_slice(&rows.concat());
    let samples = (0..rows.len())
        .map(|i| Sample { token: i, seat: i, position: i as u32 + 1, draw })
        .collect();
    let zeros = vec![0; rows.len()];
    let layout = StepLayout {
        tokens: zeros.clone(),
        positions: zeros.clone(),
        slots: zeros,
        samples,
        ..StepLayout::default()
    };
    let mut step = backend.step(rows.len(), rows.len(), 1, width).unwrap();
    backend.stage(&layout, &mut step);
    backend.sample(&logits, &step);
    engine_backend::Event::wait(backend.record(&step)).unwrap().tokens
}

/// Any logits, with some that are equal.
fn logits(seed: u64, len: u32) -> Vec<f32> {
    (0..len).map(|i| (uniform(seed, i) * 200.0).round() as f32 / 10.0 - 10.0).collect()
}

#[test]
fn greedy_is_the_lowest_id_of_the_largest_logit() {
    let greedy = Draw { temperature: 0.0, ..ALL };
    for mut backend in available() {
        for len in [1, 16, 17, 1000] {
            let logits = logits(u64::from(len), len);
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let right = logits.iter().position(|x| *x == largest).map(|token| token as u32);
            assert_eq!(draw(&mut backend, &[&logits], greedy), [right]);
        }
    }
}

#[test]
fn logits_that_are_not_finite_draw_nothing_and_harm_no_one() {
    for mut backend in available() {
        for draw_as in [Draw { temperature: 0.0, ..ALL }, ALL, Draw { top_k: 3, ..ALL }] {
            for flaw in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in [0, 15, 16, 39] {
                    let good = logits(1, 40);
                    let mut bad = good.clone();
                    bad[at] = flaw;
                    let found = draw(&mut backend, &[&good, &bad, &good], draw_as);
                    assert!(found[0].is_some() && found[1].is_none() && found[2].is_some());
                }
            }
        }
    }
}

#[test]
fn tokens_are_drawn_as_often_as_they_are_likely() {
    const DRAWS: usize = 20_000;
    let logits = [1.0, -1.0, 0.5, 2.0, -20.0, 0.0, 1.5];
    let temperature = 0.7;
    let weights = logits.map(|x: f32| f64::from(x / temperature).exp());
    let total: f64 = weights.iter().sum();
    let rows = vec![logits.as_slice(); DRAWS];
    for mut backend in available() {
        let mut counts = [0.0; 7];
        for token in draw(&mut backend, &rows, Draw { temperature, ..ALL }) {
            counts[token.unwrap() as usize] += 1.0;
        }
        for (count, weight) in counts.into_iter().zip(weights) {
            let mean = DRAWS as f64 * weight / total;
            assert!((count - mean).abs() <= 5.0 * mean.sqrt() + 1.0, "{count} for {mean}");
        }
    }
}

#[test]
fn a_draw_depends_on_seed_and_position_alone() {
    let logits = logits(3, 500);
    let rows = vec![logits.as_slice(); 64];
    let mut seen = Vec::new();
    for mut backend in available() {
        let tokens = draw(&mut backend, &rows, ALL);
        let again = draw(&mut backend, &rows[..5], ALL);
        assert_eq!(tokens[..5], again);
        assert_ne!(tokens, draw(&mut backend, &rows, Draw { seed: 8, ..ALL }));
        seen.push(tokens);
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "the same on every instruction set");
}

/// The tokens that the filters leave, each filter over what the one before it left.
fn filtered(logits: &[f32], weights: &[f32], draw: &Draw) -> Vec<u32> {
    let mut tokens: Vec<u32> = (0..logits.len() as u32).collect();
    tokens.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
    if draw.top_k > 0 {
        tokens.truncate(draw.top_k as usize);
    }
    let weight = |token: &u32| f64::from(weights[*token as usize]);
    let total: f64 = if draw.top_k > 0 {
        tokens.iter().map(weight).sum()
    } else {
        (0..logits.len() as u32).map(|token| weight(&token)).sum()
    };
    let mut sum = 0.0;
    let mut short = true;
    tokens.retain(|token| {
        let keep = short || draw.top_p >= 1.0;
        sum += f64::from(weights[*token as usize]);
        short = sum < f64::from(draw.top_p) * total;
        keep
    });
    tokens.retain(|token| weights[*token as usize] >= draw.min_p);
    tokens
}

#[test]
fn filters_keep_what_they_should() {
    for (seed, len) in [(1, 1), (2, 7), (3, 300), (4, 5000)] {
        let logits = logits(seed, len);
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for temperature in [0.1, 1.0, 100.0] {
            let weights: Vec<f32> =
                logits.iter().map(|x| ((x - largest) / temperature).exp()).collect();
            for top_k in [0, 1, 5, 400, 9999] {
                for top_p in [0.0, 0.1, 0.5, 0.99, 1.0] {
                    for min_p in [0.0, 0.05, 1.0] {
                        let draw = Draw { temperature, top_k, top_p, min_p, seed, ..Draw::GREEDY };
                        let mut ranking = Vec::new();
                        let kept = rank(&logits, &weights, &draw, &mut ranking);
                        assert_eq!(ranking[..kept], filtered(&logits, &weights, &draw), "{draw:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn only_what_the_filters_keep_is_drawn() {
    let logits = [3.0, 1.0, 2.0, 0.0, 2.5, -1.0];
    let rows = vec![logits.as_slice(); 500];
    for mut backend in available() {
        for (filter, right) in [
            (Draw { top_k: 2, ..ALL }, vec![0, 4]),
            (Draw { top_p: 0.6, ..ALL }, vec![0, 4]),
            (Draw { min_p: 0.3, ..ALL }, vec![0, 2, 4]),
            (Draw { top_k: 1, ..ALL }, vec![0]),
        ] {
            let mut found = draw(&mut backend, &rows, filter);
            found.sort_unstable();
            found.dedup();
            assert_eq!(found, right.iter().copied().map(Some).collect::<Vec<_>>(), "{filter:?}");
        }
    }
}
