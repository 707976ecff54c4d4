//! Products whose gate is applied on the way: the same bits as one operation after the other.

use engine_backend::{Activation, Backend, DType, ExpertInput, Router};
use engine_cuda::CudaBackend;

use crate::dice::Dice;
use crate::ends::{Ends, coarse, numbers};
use crate::gpu;
use crate::weights::Weight;

const ACTIVATIONS: [Activation; 2] = [Activation::Silu, Activation::Gelu];

/// The values of one operation, and of one after the other.
type Both = [Vec<f32>; 2];

fn same(both: &Both, what: &str) {
    let [found, expected] = both;
    assert!(found == expected, "{what}");
    assert!(found.iter().all(|x| x.is_finite()), "{what}: not all was written");
}

#[test]
fn gates_of_rows_that_meet_one_weight() {
    fn run(b: &mut CudaBackend, parts: &[Weight; 2], x: &[f32], how: Activation) -> Both {
        let (inner, width) = (parts[0].rows, parts[0].cols);
        let tensors: Vec<_> = parts.iter().map(Weight::tensor).collect();
        let weight = b.matrix(&tensors).expect("a working device");
        let x = b.halves(width, x);
        let mut between = b.poisoned(x.rows(), 2 * inner);
        let [mut found, mut expected] = [(); 2].map(|()| b.poisoned(x.rows(), inner));
        b.gated_linear(&x, &weight, how, &mut between, &mut found);
        b.linear(&x, &weight, None, &mut between);
        b.gated(&between, how, &mut expected);
        [b.values(&found), b.values(&expected)]
    }
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(41);
    for dtype in [DType::Bf16, DType::Q4K, DType::Q6K] {
        for (inner, width) in [(16, 256), (208, 768), (1100, 512), (2048, 2048)] {
            let parts = [(); 2].map(|()| Weight::new(dtype, inner, width, dice));
            for rows in [3, 9, 17, 40, 65, 130, 300] {
                let x = coarse(rows * width, dice);
                for how in ACTIVATIONS {
                    let what = format!("{rows} rows, {inner} of {width}, {dtype:?}, {how:?}");
                    same(&run(&mut cuda, &parts, &x, how), &what);
                }
            }
        }
    }
}

#[test]
fn gates_of_choices_that_meet_their_experts() {
    fn run(
        b: &mut CudaBackend,
        parts: &[[Weight; 2]],
        (x, scores): (&[f32], &[f32]),
        router: Router,
        how: Activation,
    ) -> Both {
        let (inner, width) = (parts[0][0].rows, parts[0][0].cols);
        let tensors: Vec<Vec<_>> =
            parts.iter().map(|both| both.iter().map(Weight::tensor).collect()).collect();
        let weight = b.experts(&tensors).expect("a working device");
        let (x, scores) = (b.halves(width, x), b.floats(router.experts, scores));
        let mut routes = b.routes(x.rows(), router).expect("a working device");
        b.route(&scores, router, &mut routes);
        let choices = x.rows() * router.chosen;
        let mut between = b.poisoned(choices, 2 * inner);
        let [mut found, mut expected] = [(); 2].map(|()| b.poisoned(choices, inner));
        b.expert_gated(&x, &weight, &routes, how, &mut between, &mut found);
        b.expert_linear(&x, ExpertInput::Positions, &weight, &routes, &mut between);
        b.gated(&between, how, &mut expected);
        [b.values(&found), b.values(&expected)]
    }
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(42);
    // Where `between` has room for the rows of all choices, and where it has not.
    for (inner, width) in [(192, 512), (64, 768)] {
        for (experts, chosen, positions) in
            [(16, 4, 30), (16, 4, 70), (16, 4, 150), (8, 2, 400), (4, 2, 700)]
        {
            let router = Router { experts, chosen, normalised: true };
            let part = |_| [(); 2].map(|()| Weight::new(DType::Bf16, inner, width, dice));
            let parts: Vec<_> = (0..experts).map(part).collect();
            let x: Vec<_> = coarse(positions * width, dice).iter().map(|x| x / 32.0).collect();
            let scores = numbers(positions * experts, dice);
            for how in ACTIVATIONS {
                let what = format!("{positions} positions, {router:?}, {inner} of {width}");
                same(&run(&mut cuda, &parts, (&x, &scores), router, how), &what);
            }
        }
    }
}
