//! What is computed row by row.

use engine_backend::{Activation, Backend as _, Heads};
use engine_cuda::CudaBackend;

use crate::dice::Dice;
use crate::ends::{Ends, between, coarse, near, numbers};
use crate::gpu;
use crate::naive::{Naive, Rounding};

/// What rounding to bf16 costs.
const ROUNDED: f64 = 3e-3;
const EXACT: f64 = 1e-5;

#[test]
fn norms_of_rows() {
    fn run<B: Ends>(
        b: &mut B,
        width: usize,
        [x, residual, weight]: &[Vec<f32>; 3],
    ) -> [Vec<f32>; 3] {
        let rows = x.len() / width;
        let weight = b.vector(weight).expect("a working device");
        let (x, mut residual) = (b.floats(width, x), b.floats(width, residual));
        let [mut alone, mut added] = [(); 2].map(|()| b.poisoned(rows, width));
        b.rms_norm(&x, &weight, 1e-5, &mut alone);
        b.add_rms_norm(&x, &mut residual, &weight, 1e-5, &mut added);
        [b.values(&alone), b.values(&residual), b.values(&added)]
    }
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(11);
    for width in [1, 8, 33, 576, 2048, 8192, 9000] {
        let rows = between(1, 40, dice);
        let inputs = [rows * width, rows * width, width].map(|count| numbers(count, dice));
        let found = run(&mut cuda, width, &inputs);
        let expected = run(&mut Naive::new(Rounding::None), width, &inputs);
        for (nth, bound) in [ROUNDED, EXACT, ROUNDED].into_iter().enumerate() {
            near(&found[nth], &expected[nth], bound, &format!("norm {nth} of {width}"));
        }
    }
}

/// Many rows have a kernel of their own, which may not be told from the other.
#[test]
fn norms_of_many_rows_have_the_bits_of_each_alone() {
    fn run(b: &mut CudaBackend, case: [&[f32]; 3], halves: bool) -> [Vec<f32>; 3] {
        let [x, residual, weight] = case;
        let width = weight.len();
        let rows = x.len() / width;
        let weight = b.vector(weight).expect("a working device");
        let x = if halves { b.halves(width, x) } else { b.floats(width, x) };
        let mut residual = b.floats(width, residual);
        let [mut alone, mut added] = [(); 2].map(|()| b.poisoned(rows, width));
        b.rms_norm(&x, &weight, 1e-5, &mut alone);
        b.add_rms_norm(&x, &mut residual, &weight, 1e-5, &mut added);
        [b.values(&alone), b.values(&residual), b.values(&added)]
    }
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(15);
    for (width, halves) in [(2048, false), (576, true), (1036, false), (4096, true), (3000, false)]
    {
        let rows = between(300, 340, dice);
        let (x, residual) = (coarse(rows * width, dice), numbers(rows * width, dice));
        let weight = numbers(width, dice);
        let together = run(&mut cuda, [&x, &residual, &weight], halves);
        for row in [0, rows / 2, rows - 1] {
            let at = row * width..(row + 1) * width;
            let (x, residual) = (&x[at.clone()], &residual[at.clone()]);
            let alone = run(&mut cuda, [x, residual, &weight], halves);
            for (nth, (together, alone)) in together.iter().zip(&alone).enumerate() {
                assert!(together[at.clone()] == alone[..], "norm {nth} of {width}, row {row}");
            }
        }
    }
}

/// A norm's output, which is rounded, may be what is added.
#[test]
fn norms_of_what_was_normed() {
    fn run<B: Ends>(b: &mut B, width: usize, [x, residual, weight]: &[Vec<f32>; 3]) -> Vec<f32> {
        let rows = x.len() / width;
        let weight = b.vector(weight).expect("a working device");
        let (x, mut residual) = (b.floats(width, x), b.floats(width, residual));
        let [mut first, mut second] = [(); 2].map(|()| b.poisoned(rows, width));
        b.rms_norm(&x, &weight, 1e-6, &mut first);
        b.add_rms_norm(&first, &mut residual, &weight, 1e-6, &mut second);
        b.values(&second)
    }
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(12);
    let (rows, width) = (7, 640);
    let inputs = [rows * width, rows * width, width].map(|count| numbers(count, dice));
    let expected = run(&mut Naive::new(Rounding::None), width, &inputs);
    near(&run(&mut cuda, width, &inputs), &expected, ROUNDED, "a norm of a norm");
}

#[test]
fn norms_of_heads() {
    fn run<B: Ends>(b: &mut B, heads: Heads, [qkv, query, key]: &[Vec<f32>; 3]) -> Vec<f32> {
        let (query, key) =
            (b.vector(query).expect("a working device"), b.vector(key).expect("a working device"));
        let mut qkv = b.floats(heads.qkv_width(), qkv);
        b.head_rms_norm(&mut qkv, heads, &query, &key, 1e-6);
        b.values(&qkv)
    }
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(13);
    for (queries, keys_values, dim) in
        [(4, 2, 64), (32, 4, 128), (3, 1, 8), (9, 3, 96), (4, 1, 256)]
    {
        let heads = Heads { queries, keys_values, dim };
        let rows = between(1, 30, dice);
        let inputs = [rows * heads.qkv_width(), dim, dim].map(|count| numbers(count, dice));
        let expected = run(&mut Naive::new(Rounding::None), heads, &inputs);
        near(&run(&mut cuda, heads, &inputs), &expected, EXACT, &format!("{heads:?}"));
    }
}

#[test]
fn activations_and_gates() {
    fn run<B: Ends>(b: &mut B, width: usize, inputs: &[Vec<f32>; 4]) -> [Vec<f32>; 3] {
        let [gate_up, x, gate, out] = inputs;
        let rows = gate.len();
        let gate_up = b.floats(2 * width, gate_up);
        let both = [Activation::Gelu, Activation::Silu].map(|activation| {
            let mut out = b.poisoned(rows, width);
            b.gated(&gate_up, activation, &mut out);
            b.values(&out)
        });
        let (x, gate, mut out) = (b.floats(width, x), b.floats(1, gate), b.floats(width, out));
        b.add_gated(&x, &gate, &mut out);
        let [gelu, silu] = both;
        [gelu, silu, b.values(&out)]
    }
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(14);
    for width in [1, 8, 255, 768, 3000] {
        let rows = between(1, 40, dice);
        let counts = [2 * rows * width, rows * width, rows, rows * width];
        let inputs = counts.map(|count| numbers(count, dice));
        let found = run(&mut cuda, width, &inputs);
        let expected = run(&mut Naive::new(Rounding::None), width, &inputs);
        for (nth, bound) in [ROUNDED, ROUNDED, EXACT].into_iter().enumerate() {
            near(&found[nth], &expected[nth], bound, &format!("gate {nth} of {width}"));
        }
    }
}
