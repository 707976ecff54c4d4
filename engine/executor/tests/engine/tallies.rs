//! Draws with penalties, biases and log-probabilities, step by step: what is drawn in one counts in
//! the next.

use std::collections::VecDeque;

use engine_backend::{
    Backend, Bias, Draw, Drawn, Event, Logprobs, Penalties, Sample, Span, StepLayout, Tally,
};

use crate::dice::Dice;

/// What one step draws from: its layout, and logits for each sample.
pub(crate) struct Turn {
    pub(crate) layout: StepLayout,
    logits: Vec<f32>,
}

/// Steps in which some of `seats` draw. Now and then a seat goes to a sequence that has said other
/// things.
pub(crate) fn turns(
    (seats, width): (usize, usize),
    draw: impl Fn(&mut Dice) -> Draw,
    dice: &mut Dice,
) -> Vec<Turn> {
    let mut draws: Vec<Option<Draw>> = vec![None; seats];
    let mut turns = Vec::new();
    for position in 1..12 {
        let mut layout = StepLayout::default();
        for (seat, known) in draws.iter_mut().enumerate() {
            if known.is_none() || dice.below(5) == 0 {
                *known = Some(draw(dice));
                tell(&mut layout, seat, width, dice);
            } else if dice.below(4) == 0 {
                continue;
            }
            let token = layout.samples.len();
            let draw = known.expect("was just made");
            layout.samples.push(Sample { token, seat, position, draw });
            layout.spans.push(Span { tokens: token..token + 1, start: 0, blocks: 0..1 });
        }
        let rows = layout.samples.len();
        (layout.tokens, layout.positions) = (vec![0; rows], vec![0; rows]);
        (layout.slots, layout.blocks) = (vec![0; rows], vec![0]);
        // Many are equal.
        let mut logit = |_| (dice.below(257) as f32 - 128.0) / 16.0;
        turns.push(Turn { layout, logits: (0..rows * width).map(&mut logit).collect() });
    }
    turns
}

/// Tells a seat anything.
fn tell(layout: &mut StepLayout, seat: usize, width: usize, dice: &mut Dice) {
    let (first, first_bias) = (layout.texts.len(), layout.biases.len());
    let said = dice.below(3 * width.min(2000)) + 1;
    layout.texts.extend((0..said).map(|_| dice.below(width) as u32));
    for token in 0..width as u32 {
        if dice.below(width.max(4)) < 4 {
            let bias = dice.below(400) as f32 / 2.0 - 100.0;
            layout.biases.push(Bias { token, bias });
        }
    }
    layout.tallies.push(Tally {
        seat,
        text: first..layout.texts.len(),
        num_prompt: dice.below(said + 1),
        biases: first_bias..layout.biases.len(),
    });
}

/// Any penalties and log-probabilities, on top of `draw`.
pub(crate) fn with_any(draw: Draw, dice: &mut Dice) -> Draw {
    let mut one_of = |choices: &[f32]| choices[dice.below(choices.len())];
    let penalties = Penalties {
        repetition: one_of(&[1.0, 1.0, 1.3, 0.7, 5.0]),
        frequency: one_of(&[0.0, 0.5, 2.0, -1.0]),
        presence: one_of(&[0.0, 0.7, -2.0]),
    };
    let logprobs = [None, Some(0), Some(1), Some(5), Some(20)][dice.below(5)];
    Draw { penalties: (dice.below(4) > 0).then_some(penalties), logprobs, ..draw }
}

/// What a backend draws, each step launched before the one before it was waited for.
pub(crate) fn play<B: Backend>(
    backend: &mut B,
    (seats, width): (usize, usize),
    turns: &[Turn],
    write: impl Fn(&mut B, &mut B::Buffer, &[f32]),
) -> Vec<Drawn> {
    let mut step = backend.step(seats, seats, seats, width).expect("a working device");
    let mut buffer = backend.buffer(seats, width).expect("a working device");
    let (mut ends, mut drawn) = (VecDeque::new(), Vec::new());
    for turn in turns {
        write(backend, &mut buffer, &turn.logits);
        backend.stage(&turn.layout, &mut step);
        backend.sample(&buffer, &step);
        ends.push_back(backend.record(&step));
        if ends.len() == 2 {
            drawn.extend(ends.pop_front().map(|end| end.wait().expect("a working device")));
        }
    }
    drawn.extend(ends.into_iter().map(|end| end.wait().expect("a working device")));
    drawn
}

/// That two backends drew the same.
pub(crate) fn assert_same(found: &[Drawn], expected: &[Drawn], turns: &[Turn]) {
    assert_eq!(found.len(), expected.len());
    for (nth, (found, expected)) in found.iter().zip(expected).enumerate() {
        let samples = &turns[nth].layout.samples;
        for ((found, expected), sample) in found.tokens.iter().zip(&expected.tokens).zip(samples) {
            assert_eq!(found, expected, "step {nth}: {sample:?}");
        }
        assert_eq!(found.logprobs.len(), expected.logprobs.len(), "step {nth}");
        for (found, expected) in found.logprobs.iter().zip(&expected.logprobs) {
            assert!(are_close(found, expected), "step {nth}: {found:?} for {expected:?}");
        }
    }
}

fn are_close(found: &Logprobs, expected: &Logprobs) -> bool {
    let close = |a: f32, b: f32| (a - b).abs() < 1e-5 * (1.0 + b.abs());
    let pairs = || found.top.iter().zip(&expected.top);
    close(found.drawn, expected.drawn)
        && found.top.len() == expected.top.len()
        && pairs().all(|(found, expected)| found.0 == expected.0 && close(found.1, expected.1))
}

/// The sizes that are worth a look: seats and tokens.
pub(crate) const SIZES: [(usize, usize); 5] = [(1, 1), (3, 7), (6, 33), (5, 1000), (4, 20_011)];
