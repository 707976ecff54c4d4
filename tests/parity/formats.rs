//! How weights are kept on the device: what is exact is exact, and what does not fit is kept in
//! bf16.

use engine_backend::{Backend, DType, ExpertInput, Router};
use engine_cuda::WeightType;
use half::bf16;

use crate::dice::Dice;
use crate::ends::{Ends, between, coarse, near, numbers};
use crate::gpu;
use crate::naive::{Naive, Rounding};
use crate::weights::Weight;

const PLAIN: [DType; 3] = [DType::Bf16, DType::F16, DType::F32];
const CODES: [DType; 5] = [DType::Q4_0, DType::Q4_1, DType::Q4K, DType::Q6K, DType::Q8_0];
/// Sums of bf16 in f32, in another order.
const EXACT: f64 = 2e-6;

fn product<B: Ends>(backend: &mut B, weight: &Weight, x: &[f32]) -> (Vec<f32>, B::Matrix) {
    let matrix = backend.matrix(&[weight.tensor()]).expect("a working device");
    let x = backend.halves(weight.cols, x);
    let rows = backend.values(&x).len() / weight.cols;
    let mut out = backend.poisoned(rows, weight.rows);
    backend.linear(&x, &matrix, None, &mut out);
    (backend.values(&out), matrix)
}

/// Scales that bf16 holds leave weights that are rounded once, whether their codes are kept or the
/// scales are too large for it.
#[test]
fn codes_are_rounded_once_and_large_scales_make_them_bf16() {
    let Some(mut cuda) = gpu() else { return };
    let mut rounded = Naive::new(Rounding::Bf16);
    let dice = &mut Dice::new(51);
    for dtype in CODES {
        for (scale, kept) in [(1.0 / 2048.0, true), (1.0, false)] {
            let shape = (between(1, 100, dice), 256 * between(1, 4, dice));
            let weight = Weight::scaled(dtype, shape, scale, dice);
            for rows in [1, 8, 16, 33, 100, 300] {
                let x = coarse(rows * weight.cols, dice);
                let (found, matrix) = product(&mut cuda, &weight, &x);
                let (expected, _) = product(&mut rounded, &weight, &x);
                near(&found, &expected, EXACT, &format!("{rows} rows of {dtype:?} by {scale}"));
                let plain = weight.rows.next_multiple_of(16) * weight.cols * 2;
                assert_eq!(matrix.bytes() < plain, kept, "bytes of {dtype:?} by {scale}");
            }
        }
    }
}

/// The nearest float of eight bits (E4M3, four digits), ties to even.
fn eight_bits(x: f32) -> f32 {
    let exponent = x.abs().log2().floor().max(-6.0);
    let step = (exponent - 3.0).exp2();
    ((x / step).round_ties_even() * step).clamp(-448.0, 448.0)
}

/// What becomes of one output: 64 inputs share the least power of two with which all are in range.
fn scaled_eight_bits(row: &[f32]) -> Vec<f32> {
    row.chunks(64)
        .flat_map(|group| {
            let largest = group.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            let scale = (largest / 448.0).log2().ceil().exp2();
            let scale = if largest > 0.0 { scale } else { 1.0 };
            group.iter().map(move |x| eight_bits(x / scale) * scale)
        })
        .collect()
}

/// Numbers of all sizes, and groups of nothing.
fn uneven(rows: usize, cols: usize, dice: &mut Dice) -> Vec<f32> {
    let mut values = coarse(rows * cols, dice);
    for value in &mut values {
        *value *= [1.0, 1.0, 0.1, 1e-3][dice.below(4)];
    }
    for row in values.chunks_exact_mut(cols) {
        for group in row.chunks_mut(64) {
            let size = [1.0, 0.03, 40.0, 0.0][dice.below(4)];
            group.iter_mut().for_each(|value| *value = bf16::from_f32(*value * size).to_f32());
        }
    }
    values
}

#[test]
fn plain_weights_in_eight_bits() {
    let Some(cuda) = gpu() else { return };
    let mut cuda = cuda.with_weights(WeightType::Fp8);
    let mut plain = Naive::new(Rounding::None);
    let dice = &mut Dice::new(52);
    for dtype in PLAIN {
        for count in [1, 7, 8, 16, 20, 64, 100, 300] {
            let (rows, cols) = (between(1, 100, dice), 8 * between(1, 100, dice));
            let values = uneven(rows, cols, dice);
            let weight = Weight::of(dtype, rows, &values);
            // Halves lose what is too small for them first.
            let held = weight.floats();
            let eight: Vec<_> = held.chunks_exact(cols).flat_map(scaled_eight_bits).collect();
            let x = coarse(count * cols, dice);
            let (found, matrix) = product(&mut cuda, &weight, &x);
            let (expected, _) = product(&mut plain, &Weight::of(DType::F32, rows, &eight), &x);
            near(&found, &expected, EXACT, &format!("{count} rows of {dtype:?} in eight bits"));
            let weights = rows.next_multiple_of(16) * cols.next_multiple_of(64);
            assert_eq!(matrix.bytes(), weights + weights / 64);
        }
    }
}

#[test]
fn what_must_not_be_rounded_is_not_nor_what_is_out_of_range() {
    let Some(cuda) = gpu() else { return };
    let mut cuda = cuda.with_weights(WeightType::Fp8);
    let mut rounded = Naive::new(Rounding::Bf16);
    let dice = &mut Dice::new(53);
    let (rows, cols) = (40, 256);
    let x = coarse(cols, dice);
    let bytes = |rows: usize, cols: usize| 2 * rows.next_multiple_of(16) * cols;
    let weight = Weight::of(DType::F32, rows, &numbers(rows * cols, dice));
    let exact = cuda.exact_matrix(&[weight.tensor()]).expect("a working device");
    assert_eq!(exact.bytes(), bytes(rows, cols));
    let mut values = numbers(rows * cols, dice);
    values[77] = 1e6;
    let large = Weight::of(DType::F32, rows, &values);
    let (found, matrix) = product(&mut cuda, &large, &x);
    assert_eq!(matrix.bytes(), bytes(rows, cols));
    near(&found, &product(&mut rounded, &large, &x).0, EXACT, "weights beyond eight bits");
}

#[test]
fn inputs_that_no_product_reads_are_refused() {
    let Some(mut cuda) = gpu() else { return };
    let weight = Weight::of(DType::F32, 2, &[1.0; 24]);
    let refused = cuda.matrix(&[weight.tensor()]).err().map(|error| error.to_string());
    let words = "weights of 12 inputs are not supported, only of multiples of 8";
    assert_eq!(refused.as_deref(), Some(words));
}

/// What is not of one type in all experts.
#[test]
fn experts_of_several_types() {
    fn run<B: Ends>(b: &mut B, experts: &[Vec<Weight>], (x, scores): (&[f32], &[f32])) -> Vec<f32> {
        let router = Router { experts: experts.len(), chosen: 2, normalised: true };
        let (cols, positions) = (experts[0][0].cols, scores.len() / experts.len());
        let tensors: Vec<_> =
            experts.iter().map(|parts| parts.iter().map(Weight::tensor).collect()).collect();
        let weight = b.experts(&tensors).expect("a working device");
        let mut routes = b.routes(positions, router).expect("a working device");
        let (x, scores) = (b.halves(cols, x), b.floats(experts.len(), scores));
        b.route(&scores, router, &mut routes);
        let outputs = experts[0].iter().map(|part| part.rows).sum();
        let mut out = b.poisoned(2 * positions, outputs);
        b.expert_linear(&x, ExpertInput::Positions, &weight, &routes, &mut out);
        b.values(&out)
    }
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(54);
    let (types, cols) = ([DType::Q4K, DType::Q6K, DType::Bf16], 512);
    let mut part = |dtype| Weight::scaled(dtype, (48, cols), 1.0 / 2048.0, dice);
    let experts: Vec<_> =
        (0..8).map(|nth| vec![part(DType::Q4K), part(types[nth % 3]), part(DType::Q8_0)]).collect();
    for positions in [1, 30] {
        let x = coarse(positions * cols, dice);
        let scores = numbers(positions * experts.len(), dice);
        let found = run(&mut cuda, &experts, (&x, &scores));
        let expected = run(&mut Naive::new(Rounding::Bf16), &experts, (&x, &scores));
        near(&found, &expected, EXACT, &format!("{positions} positions"));
    }
}
