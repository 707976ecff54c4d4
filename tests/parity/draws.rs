//! Draws, against the CPU's.

use engine_backend::{
    Backend, Draw, Event, Inherit, Penalties, Sample, Source, Span, StepLayout, Tensor,
};
use engine_cpu::CpuBackend;
use engine_cuda::{CudaBackend, Element};

use crate::dice::Dice;
use crate::ends::numbers;
use crate::gpu;
use crate::tallies::{SIZES, Turn, assert_same, play, turns, with_any};

fn layout(draws: &[Draw], dice: &mut Dice) -> StepLayout {
    let count = draws.len();
    let mut seats: Vec<_> = (0..count).collect();
    dice.shuffle(&mut seats);
    let sample = |(token, draw): (usize, &Draw)| {
        let position = dice.below(1 << 20) as u32;
        Sample { token, seat: seats[token], position, draw: *draw }
    };
    StepLayout {
        tokens: vec![0; count],
        positions: vec![0; count],
        slots: vec![0; count],
        spans: (0..count).map(|i| Span { tokens: i..i + 1, start: 0, blocks: 0..1 }).collect(),
        blocks: vec![0],
        samples: draws.iter().enumerate().map(sample).collect(),
        ..StepLayout::default()
    }
}

fn on_cpu(layout: &StepLayout, width: usize, logits: &[f32]) -> Vec<Option<u32>> {
    let mut cpu = CpuBackend::new(1);
    let rows = layout.samples.len();
    let mut step = cpu.step(rows, rows, rows, width).expect("a working device");
    let mut buffer = cpu.buffer(rows, width).expect("a working device");
    buffer.set_rows(rows);
    buffer.values_mut().copy_from_slice(logits);
    cpu.stage(layout, &mut step);
    cpu.sample(&buffer, &step);
    cpu.record(&step).wait().expect("a working device").tokens
}

fn on_gpu(
    cuda: &mut CudaBackend,
    layout: &StepLayout,
    width: usize,
    logits: &[f32],
) -> Vec<Option<u32>> {
    let rows = layout.samples.len();
    let mut step = cuda.step(rows, rows, rows, width).expect("a working device");
    let mut buffer = cuda.buffer(rows, width).expect("a working device");
    cuda.write(&mut buffer, rows, Element::F32, logits).expect("a working device");
    cuda.stage(layout, &mut step);
    cuda.sample(&buffer, &step);
    cuda.record(&step).wait().expect("a working device").tokens
}

fn draw(dice: &mut Dice) -> Draw {
    let mut one_of = |choices: &[f32]| choices[dice.below(choices.len())];
    Draw {
        temperature: one_of(&[0.0, 0.3, 1.0, 1.0, 2.5]),
        top_k: one_of(&[0.0, 0.0, 1.0, 5.0, 50.0, 1e6]) as u32,
        top_p: one_of(&[1.0, 1.0, 0.95, 0.5, 0.1, 0.0]),
        min_p: one_of(&[0.0, 0.0, 0.01, 0.3, 1.0]),
        seed: dice.next(),
        ..Draw::GREEDY
    }
}

#[test]
fn draws_are_the_cpu_s() {
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(41);
    for width in [1, 31, 300, 5000, 151_936] {
        let draws: Vec<_> = (0..24).map(|_| draw(dice)).collect();
        let mut logits = numbers(draws.len() * width, dice);
        // Some rows have many ties, some are not finite.
        for (row, logits) in logits.chunks_exact_mut(width).enumerate() {
            match row % 4 {
                1 => logits.iter_mut().for_each(|logit| *logit = (*logit * 4.0).round()),
                2 => logits.iter_mut().for_each(|logit| *logit *= 6.0),
                _ => {}
            }
        }
        logits[3 * width] = f32::NAN;
        logits[8 * width - 1] = f32::INFINITY;
        let layout = layout(&draws, dice);
        let expected = on_cpu(&layout, width, &logits);
        let found = on_gpu(&mut cuda, &layout, width, &logits);
        for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found, expected, "row {row} of {width}: {:?}", draws[row]);
        }
        assert!(found[3].is_none() && found[7].is_none(), "what is not finite draws nothing");
    }
}

fn both_play_alike(cuda: &mut CudaBackend, sizes: (usize, usize), turns: &[Turn]) {
    let expected = play(&mut CpuBackend::new(2), sizes, turns, |_, buffer, logits| {
        buffer.set_rows(logits.len() / sizes.1);
        buffer.values_mut().copy_from_slice(logits);
    });
    let found = play(cuda, sizes, turns, |cuda, buffer, logits| {
        let rows = logits.len() / sizes.1;
        cuda.write(buffer, rows, Element::F32, logits).expect("a working device");
    });
    assert_same(&found, &expected, turns);
}

#[test]
fn penalties_and_log_probabilities_are_the_cpu_s() {
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(43);
    for sizes in SIZES.into_iter().chain([(24, 151_936)]) {
        let any = |dice: &mut Dice| with_any(draw(dice), dice);
        let turns = turns(sizes, any, dice);
        both_play_alike(&mut cuda, sizes, &turns);
    }
}

/// More than is told at once.
#[test]
fn long_texts_are_told_in_pieces() {
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(44);
    let sizes = (3, 50_000);
    let penalties = Penalties { repetition: 1.1, frequency: 0.01, presence: 0.5 };
    let draw = Draw { penalties: Some(penalties), logprobs: Some(2), ..Draw::GREEDY };
    let mut turns = turns(sizes, |_| draw, dice);
    let told = &mut turns[0].layout;
    for tally in &mut told.tallies {
        let first = told.texts.len();
        told.texts.extend((0..150_000).map(|_| dice.below(sizes.1) as u32));
        (tally.text, tally.num_prompt) = (first..told.texts.len(), dice.below(150_000));
    }
    both_play_alike(&mut cuda, sizes, &turns);
}

/// The next step reads what this one drew from the seats.
#[test]
fn tokens_are_inherited_on_the_device() {
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(42);
    let (width, rows) = (50, 9);
    let first = layout(&vec![Draw::GREEDY; rows], dice);
    let logits = numbers(rows * width, dice);
    let drawn = on_cpu(&first, width, &logits);
    let mut step = cuda.step(rows, rows, rows, width).expect("a working device");
    let mut buffer = cuda.buffer(rows, width).expect("a working device");
    cuda.write(&mut buffer, rows, Element::F32, &logits).expect("a working device");
    let mut second = layout(&vec![Draw::GREEDY; rows], dice);
    second.inherits =
        (0..rows).map(|token| Inherit { token, seat: first.samples[token].seat }).collect();
    let table: Vec<u8> = (0..width * 8).flat_map(|at| ((at / 8) as f32).to_le_bytes()).collect();
    let dtype = engine_backend::DType::F32;
    let table = cuda
        .matrix(&[Tensor { dtype, rows: width, cols: 8, source: Source::Bytes(&table) }])
        .expect("a working device");
    let mut embedded = cuda.buffer(rows, 8).expect("a working device");
    // Both are launched before anybody waits.
    cuda.stage(&first, &mut step);
    cuda.sample(&buffer, &step);
    let end = cuda.record(&step);
    cuda.stage(&second, &mut step);
    cuda.embed(&table, &step, 1.0, &mut embedded);
    let _later = cuda.record(&step);
    let waiting = std::thread::spawn(|| end.wait().expect("a working device").tokens);
    assert_eq!(waiting.join().expect("the other thread has waited"), drawn);
    let found: Vec<_> =
        embedded.values().expect("a working device").chunks(8).map(|row| row[0] as u32).collect();
    assert_eq!(found.into_iter().map(Some).collect::<Vec<_>>(), drawn);
}
