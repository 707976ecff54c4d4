//! Ranks of several, one at a time on the one GPU: what each computes of a mixture, what is made of
//! all that they have, and NCCL where it is installed, among as many ranks as there are GPUs: one.

use engine_backend::{Activation, Backend, DType, Rank, Router};
use engine_cuda::{CudaBackend, OpenError, PeersId};

use crate::dice::Dice;
use crate::ends::{Ends, near, numbers};
use crate::experts::Case;
use crate::gpu;
use crate::naive::{Naive, Rounding};
use crate::weights::Weight;

/// Of each share of the experts the sums that it gives for the first positions, so many of them.
fn sums<B: Ends>(case: &Case, b: &mut B, numbers: &[usize]) -> Vec<Vec<f32>> {
    let held = b.rank().share(case.router.experts);
    let gate_up = case.gate_up[held.clone()].iter();
    let gate_up: Vec<_> = gate_up.map(|both| both.iter().map(Weight::tensor).collect()).collect();
    let down: Vec<_> = case.down[held].iter().map(|down| vec![down.tensor()]).collect();
    let gate_up = b.experts(&gate_up).expect("a working device");
    let down = b.experts(&down).expect("a working device");
    let sum = |positions: &usize| {
        let mut routes = b.routes(*positions, case.router).expect("a working device");
        let x = b.halves(case.width, &case.x[..positions * case.width]);
        let experts = case.router.experts;
        let scores = b.floats(experts, &case.scores[..positions * experts]);
        let choices = positions * case.router.chosen;
        // Rows of other ranks' choices stay as they are: no numbers.
        let mut between = b.poisoned(choices, 2 * case.inner);
        let mut gated = b.poisoned(choices, case.inner);
        let mut outputs = b.poisoned(choices, case.width);
        let mut out = b.poisoned(*positions, case.width);
        b.route(&scores, case.router, &mut routes);
        b.expert_gated(&x, &gate_up, &routes, Activation::Silu, &mut between, &mut gated);
        b.expert_sum(&gated, &down, &routes, &mut outputs, &mut out);
        b.values(&out)
    };
    numbers.iter().map(sum).collect()
}

#[test]
fn ranks_share_the_experts() {
    const POSITIONS: [usize; 6] = [1, 3, 32, 33, 200, 600];
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(31);
    let routers = [(64, 8, true), (12, 4, false), (8, 1, false)];
    for (experts, chosen, normalised) in routers {
        let router = Router { experts, chosen, normalised };
        let most = POSITIONS[POSITIONS.len() - 1];
        let case = Case::new([DType::Bf16, DType::Q8_0], router, most, dice);
        let expected = sums(&case, &mut Naive::new(Rounding::None), &[most]).remove(0);
        for of in [1, 2, 4] {
            let mut all = POSITIONS.map(|positions| vec![0.0; positions * case.width]);
            for rank in Rank::all(of) {
                cuda = cuda.with_rank(rank);
                for (all, part) in all.iter_mut().zip(sums(&case, &mut cuda, &POSITIONS)) {
                    all.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
                }
            }
            for all in &all {
                let what = format!("{} positions, {router:?}, {of} ranks", all.len() / case.width);
                near(all, &expected[..all.len()], 8e-3, &what);
            }
        }
    }
}

#[test]
fn parts_of_ranks_are_summed_and_joined() {
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(32);
    for (of, rows, width) in [(1, 5, 64), (2, 1, 2048), (3, 7, 33), (8, 40, 300)] {
        let parts = numbers(of * rows * width, dice);
        let buffer = cuda.floats(width, &parts);
        let mut out = cuda.poisoned(rows, width);
        cuda.sum_parts(of, &buffer, &mut out);
        let sum =
            |at: usize| (1..of).fold(parts[at], |sum, rank| sum + parts[rank * rows * width + at]);
        let expected: Vec<_> = (0..rows * width).map(sum).collect();
        assert!(cuda.values(&out) == expected, "sum of {of} times {rows} x {width}");

        let mut out = cuda.poisoned(rows, of * width);
        cuda.join_parts(of, &buffer, &mut out);
        let place = |at: usize| {
            let (row, rank, col) = (at / (of * width), at / width % of, at % width);
            parts[(rank * rows + row) * width + col]
        };
        let expected: Vec<_> = (0..of * rows * width).map(place).collect();
        assert!(cuda.values(&out) == expected, "{of} times {rows} x {width} joined");
    }
}

/// A backend that has joined itself, or the word that NCCL is missing.
#[expect(clippy::print_stderr, reason = "says that a test was left out")]
fn joined() -> Option<CudaBackend> {
    let cuda = gpu()?;
    match PeersId::new() {
        Ok(id) => Some(cuda.join(id).expect("a rank that is alone")),
        Err(absent @ OpenError::NoNccl) => {
            eprintln!("left out: {absent}");
            None
        }
        Err(broken) => panic!("{broken}"),
    }
}

/// The sum of one is itself, as launched and as captured and replayed.
#[test]
fn nccl_brings_ranks_together() {
    let Some(mut cuda) = joined() else { return };
    let dice = &mut Dice::new(33);
    let (rows, width) = (9, 640);
    let values = numbers(rows * width, dice);
    let mut x = cuda.floats(width, &values);
    let mut parts = cuda.poisoned(rows, width);
    let mut out = cuda.poisoned(rows, width);
    cuda.all_reduce(&mut x, &mut parts);
    assert!(cuda.values(&x) == values && cuda.values(&parts) == values, "summed");
    cuda.all_gather(&x, &mut parts, &mut out);
    assert!(cuda.values(&out) == values, "joined");

    cuda.poison(&parts, 0xff).expect("a working device");
    cuda.poison(&out, 0xff).expect("a working device");
    let graph = cuda.capture(|cuda| {
        cuda.all_reduce(&mut x, &mut parts);
        cuda.all_gather(&x, &mut parts, &mut out);
    });
    let graph = graph.expect("a graph of exchanges");
    for _ in 0..3 {
        cuda.replay(&graph);
    }
    assert!(cuda.values(&x) == values && cuda.values(&out) == values, "replayed");
}
