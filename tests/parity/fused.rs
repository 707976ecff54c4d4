//! Operations that follow one another, as one: the same bits as one after the other.

use engine_backend::{Activation, Backend, DType, Router};
use engine_cuda::{Buffer, CudaBackend, Experts, Matrix};

use crate::dice::Dice;
use crate::ends::{Ends, coarse, numbers};
use crate::gpu;
use crate::weights::Weight;

struct Case {
    router: Router,
    inner: usize,
    scorer: Matrix,
    gate_up: Experts,
    down: Experts,
}

impl Case {
    fn new(
        b: &mut CudaBackend,
        (dtype, router): (DType, Router),
        (width, inner): (usize, usize),
        dice: &mut Dice,
    ) -> Self {
        let experts = |shapes: &[(usize, usize)], b: &mut CudaBackend, dice: &mut Dice| {
            let each = |_| -> Vec<_> {
                shapes.iter().map(|&(rows, cols)| Weight::new(dtype, rows, cols, dice)).collect()
            };
            let weights: Vec<Vec<Weight>> = (0..router.experts).map(each).collect();
            let tensors: Vec<Vec<_>> =
                weights.iter().map(|parts| parts.iter().map(Weight::tensor).collect()).collect();
            b.experts(&tensors).expect("a working device")
        };
        let gate_up = experts(&[(inner, width), (inner, width)], b, dice);
        let down = experts(&[(width, inner)], b, dice);
        let scorer = Weight::new(DType::Bf16, router.experts, width, dice);
        let scorer = b.matrix(&[scorer.tensor()]).expect("a working device");
        Self { router, inner, scorer, gate_up, down }
    }

    /// Gated choices and sums; each operation by itself or with the one after it.
    fn run(
        &self,
        b: &mut CudaBackend,
        (x, fused): (&Buffer, bool),
        activation: Activation,
    ) -> [Vec<f32>; 2] {
        let positions = x.rows();
        let choices = positions * self.router.chosen;
        let mut routes = b.routes(positions, self.router).expect("a working device");
        let mut scores = b.poisoned(positions, self.router.experts);
        let mut both = b.poisoned(choices, 2 * self.inner);
        let mut gated = b.poisoned(choices, self.inner);
        let mut outputs = b.poisoned(choices, x.width());
        let mut out = b.poisoned(positions, x.width());
        let up = &self.gate_up;
        if fused {
            b.route_linear(x, &self.scorer, &mut scores, self.router, &mut routes);
            b.expert_gated(x, up, &routes, activation, &mut both, &mut gated);
            b.expert_sum(&gated, &self.down, &routes, &mut outputs, &mut out);
        } else {
            use engine_backend::ExpertInput::{Choices, Positions};
            b.linear(x, &self.scorer, None, &mut scores);
            b.route(&scores, self.router, &mut routes);
            b.expert_linear(x, Positions, up, &routes, &mut both);
            b.gated(&both, activation, &mut gated);
            b.expert_linear(&gated, Choices, &self.down, &routes, &mut outputs);
            b.combine(&outputs, &routes, &mut out);
        }
        [b.values(&gated), b.values(&out)]
    }
}

/// A chain of products and norms, each waited for, or one after the other.
#[test]
fn norms_on_the_way_of_products_give_the_same_bits() {
    fn run(b: &mut CudaBackend, case: &Chain, rows: usize, alone: bool) -> [Vec<f32>; 4] {
        let width = case.width;
        let mut residual = b.floats(width, &case.x[..rows * width]);
        let [mut normed, mut between, mut delta, mut last, mut out] =
            [width, case.middle, width, width, case.middle].map(|width| b.poisoned(rows, width));
        let wait = |b: &mut CudaBackend| {
            if alone {
                b.finish().expect("a working device");
            }
        };
        b.rms_norm(&residual, &case.norm, 1e-6, &mut normed);
        wait(b);
        b.linear(&normed, &case.up, Some(&case.bias), &mut between);
        b.finish().expect("a working device");
        let halves = b.values(&between);
        let halves = b.halves(case.middle, &halves);
        b.linear(&halves, &case.down, None, &mut delta);
        wait(b);
        b.add_rms_norm(&delta, &mut residual, &case.norm, 1e-6, &mut last);
        wait(b);
        b.linear(&last, &case.up, None, &mut out);
        [b.values(&delta), b.values(&residual), b.values(&last), b.values(&out)]
    }
    struct Chain {
        width: usize,
        middle: usize,
        x: Vec<f32>,
        norm: engine_cuda::Vector,
        bias: engine_cuda::Vector,
        up: Matrix,
        down: Matrix,
    }
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(32);
    for (width, middle) in [(2048, 512), (1032, 1040), (4096, 256), (512, 2048), (1280, 4096)] {
        let dtype = if width % 256 == 0 && middle != 256 { DType::Q4K } else { DType::Bf16 };
        let [up, down] = [(middle, width), (width, middle)]
            .map(|(rows, cols)| Weight::new(dtype, rows, cols, dice))
            .map(|weight| cuda.matrix(&[weight.tensor()]).expect("a working device"));
        let [norm, bias] = [width, middle]
            .map(|length| cuda.vector(&numbers(length, dice)).expect("a working device"));
        let x = numbers(8 * width, dice);
        let case = Chain { width, middle, x, norm, bias, up, down };
        for rows in [1, 2, 3, 8] {
            let expected = run(&mut cuda, &case, rows, true);
            let found = run(&mut cuda, &case, rows, false);
            assert!(found == expected, "{rows} rows of {width}, {middle} between");
            assert!(found.iter().flatten().all(|x| x.is_finite()), "{rows} rows of {width}");
        }
    }
}

#[test]
fn mixtures_give_the_same_bits_in_fewer_operations() {
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(31);
    // Experts, chosen ones, whether their weights are made to be one together; width and inner
    // width; positions.
    let cases = [
        ((16, 8, true), (2048, 768), DType::Bf16, &[1, 8][..]),
        ((16, 8, true), (2048, 768), DType::Q4K, &[1, 7, 14]),
        ((128, 8, true), (256, 256), DType::Bf16, &[1, 2, 4, 8, 9, 30, 131, 256]),
        ((128, 8, true), (256, 256), DType::Q6K, &[1, 3, 8, 40, 130]),
        ((60, 4, false), (512, 256), DType::Q8_0, &[1, 4, 8, 40, 150]),
        ((300, 7, true), (256, 256), DType::Q4_0, &[2, 8, 64]),
        ((3, 1, false), (1024, 1536), DType::Bf16, &[1, 5, 8]),
        ((4, 4, true), (512, 5120), DType::Bf16, &[1, 6]),
        ((4, 2, true), (64, 64), DType::Bf16, &[1, 8, 9, 20]),
        // Tiles of many rows, several for some experts; an odd number of them lies across.
        ((4, 2, true), (512, 320), DType::Bf16, &[100, 300, 900]),
        ((8, 2, true), (768, 256), DType::Q4K, &[400]),
    ];
    for ((experts, chosen, normalised), shape, dtype, positions) in cases {
        let router = Router { experts, chosen, normalised };
        let case = Case::new(&mut cuda, (dtype, router), shape, dice);
        for &positions in positions {
            let x: Vec<_> = coarse(positions * shape.0, dice).iter().map(|x| x / 32.0).collect();
            let x = cuda.halves(shape.0, &x);
            for activation in [Activation::Silu, Activation::Gelu] {
                let expected = case.run(&mut cuda, (&x, false), activation);
                let found = case.run(&mut cuda, (&x, true), activation);
                for stage in 0..2 {
                    let what = format!("{positions} positions, {router:?}, {dtype:?} {shape:?}");
                    assert!(found[stage] == expected[stage], "stage {stage} of {what}");
                    assert!(found[stage].iter().all(|x| x.is_finite()), "{what}");
                }
            }
        }
    }
}
