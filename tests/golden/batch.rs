//! The demo model: a sequence's tokens are the same alone and in any batch.

use engine_contract::{Outcome, Sampling};
use engine_cpu::CpuBackend;

use crate::dice::Dice;
use crate::driver::{Cuts, Driver, Job};
use crate::smollm2;

const SEQUENCES: usize = 32;

/// Prompts cut out of the reference texts, from one token to two hundred.
fn jobs() -> Vec<Job> {
    let pool: Vec<u32> =
        smollm2::cases().into_iter().flat_map(|case| [case.prompt, case.greedy].concat()).collect();
    let mut dice = Dice::new(17);
    let mut job = |nth: usize| {
        let length = if nth == 0 { 1 } else { 1 + dice.below(1 << (1 + nth % 8)).min(199) };
        let from = dice.below(pool.len() - length);
        let sampling = if nth.is_multiple_of(4) {
            let seed = nth as u64;
            Sampling {
                temperature: 0.8,
                top_k: 40,
                top_p: 0.95,
                min_p: 0.02,
                seed,
                ..Sampling::PLAIN
            }
        } else {
            Sampling::GREEDY
        };
        Job { prompt: pool[from..from + length].to_vec(), outputs: 1 + dice.below(16), sampling }
    };
    (0..SEQUENCES).map(&mut job).collect()
}

#[test]
fn tokens_do_not_depend_on_the_batch() {
    let jobs = jobs();
    let mut engine = smollm2::engine(CpuBackend::new(0));
    let alone = Cuts { depth: 1, chunk_max: usize::MAX, running_max: 1 };
    let alone = Driver::run(&mut engine, &jobs, alone, 0, 0);
    assert!(alone.iter().zip(&jobs).all(|(drawn, job)| drawn.len() == job.outputs));
    assert!(alone.iter().flatten().all(|outcome| *outcome != Outcome::NotFinite));
    let cuts = [
        Cuts { depth: 2, chunk_max: 512, running_max: SEQUENCES },
        Cuts { depth: 2, chunk_max: 13, running_max: SEQUENCES },
        Cuts { depth: 3, chunk_max: 100, running_max: 7 },
    ];
    for (nth, cuts) in (1..).zip(cuts) {
        let together = Driver::run(&mut engine, &jobs, cuts, nth, nth * 1_000_000);
        assert_eq!(together, alone, "batching {nth} changes tokens");
    }
}
