//! The CPU's draws against plain loops.

use engine_backend::Draw;
use engine_cpu::CpuBackend;

use crate::dice::Dice;
use crate::naive::{Naive, Rounding};
use crate::tallies::{SIZES, assert_same, play, turns, with_any};

#[test]
fn what_was_said_counts_as_it_should() {
    let dice = &mut Dice::new(21);
    for sizes in SIZES {
        let turns = turns(sizes, |dice| with_any(Draw::GREEDY, dice), dice);
        let expected = play(&mut Naive::new(Rounding::None), sizes, &turns, |_, rows, logits| {
            rows.values = logits.to_vec();
        });
        let found = play(&mut CpuBackend::new(2), sizes, &turns, |_, buffer, logits| {
            buffer.set_rows(logits.len() / sizes.1);
            buffer.values_mut().copy_from_slice(logits);
        });
        assert_same(&found, &expected, &turns);
        let penalised = |turn: &crate::tallies::Turn| {
            turn.layout.samples.iter().any(|sample| sample.draw.penalties.is_some())
        };
        assert!(turns.iter().any(penalised));
    }
}

/// A row that asks for nothing gets the same as if nobody had.
#[test]
fn rows_without_penalties_are_left_alone() {
    let dice = &mut Dice::new(22);
    let sizes = (6, 300);
    let draw = |seed| Draw { temperature: 1.0, seed, ..Draw::GREEDY };
    let mut mixed = turns(sizes, |dice| with_any(draw(dice.next()), dice), dice);
    let play = |turns: &[_]| {
        play(&mut CpuBackend::new(2), sizes, turns, |_, buffer, logits| {
            buffer.set_rows(logits.len() / sizes.1);
            buffer.values_mut().copy_from_slice(logits);
        })
    };
    let found = play(&mixed);
    let bare: Vec<Vec<_>> = mixed
        .iter()
        .map(|turn| turn.layout.samples.iter().map(|s| s.draw.penalties.is_none()).collect())
        .collect();
    for turn in &mut mixed {
        turn.layout.tallies.clear();
        for sample in &mut turn.layout.samples {
            (sample.draw.penalties, sample.draw.logprobs) = (None, None);
        }
    }
    let expected = play(&mixed);
    let mut seen = 0;
    for ((found, expected), bare) in found.iter().zip(&expected).zip(&bare) {
        for (row, _) in bare.iter().enumerate().filter(|(_, bare)| **bare) {
            assert_eq!(found.tokens[row], expected.tokens[row]);
            seen += 1;
        }
    }
    assert!(seen > 0);
    assert_ne!(found, expected, "the others do differ");
}
