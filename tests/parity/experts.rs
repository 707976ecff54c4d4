//! Mixtures: who goes where, the products of experts, and their sum.

use engine_backend::{Activation, DType, ExpertInput, Router};

use crate::dice::Dice;
use crate::ends::{Ends, coarse, near, numbers};
use crate::gpu;
use crate::naive::{Naive, Rounding};
use crate::weights::Weight;

pub(crate) struct Case {
    pub(crate) router: Router,
    pub(crate) width: usize,
    pub(crate) inner: usize,
    /// Gate and up of every expert, and down.
    pub(crate) gate_up: Vec<[Weight; 2]>,
    pub(crate) down: Vec<Weight>,
    pub(crate) x: Vec<f32>,
    pub(crate) scores: Vec<f32>,
}

impl Case {
    pub(crate) fn new(
        dtypes: [DType; 2],
        router: Router,
        positions: usize,
        dice: &mut Dice,
    ) -> Self {
        let (width, inner) = (512, 256);
        let half = |dice: &mut Dice| Weight::new(dtypes[0], inner, width, dice);
        Self {
            router,
            width,
            inner,
            gate_up: (0..router.experts).map(|_| [half(dice), half(dice)]).collect(),
            down: (0..router.experts).map(|_| Weight::new(dtypes[1], width, inner, dice)).collect(),
            x: coarse(positions * width, dice).iter().map(|x| x / 32.0).collect(),
            // Equal scores are common, so that ties are.
            scores: numbers(positions * router.experts, dice)
                .iter()
                .map(|score| (score * 8.0).round() / 4.0)
                .collect(),
        }
    }

    /// What each product gives, the sum, and what its norm with a residual leaves.
    fn run<B: Ends>(&self, b: &mut B) -> [Vec<f32>; 5] {
        let positions = self.x.len() / self.width;
        let gate_up: Vec<_> =
            self.gate_up.iter().map(|both| both.iter().map(Weight::tensor).collect()).collect();
        let down: Vec<_> = self.down.iter().map(|down| vec![down.tensor()]).collect();
        let (gate_up, down) = (
            b.experts(&gate_up).expect("a working device"),
            b.experts(&down).expect("a working device"),
        );
        let mut routes = b.routes(positions, self.router).expect("a working device");
        let (x, scores) =
            (b.halves(self.width, &self.x), b.floats(self.router.experts, &self.scores));
        let choices = positions * self.router.chosen;
        let mut both = b.poisoned(choices, 2 * self.inner);
        let mut gated = b.poisoned(choices, self.inner);
        let mut outputs = b.poisoned(choices, self.width);
        let mut out = b.poisoned(positions, self.width);
        b.route(&scores, self.router, &mut routes);
        b.expert_linear(&x, ExpertInput::Positions, &gate_up, &routes, &mut both);
        b.gated(&both, Activation::Silu, &mut gated);
        b.expert_linear(&gated, ExpertInput::Choices, &down, &routes, &mut outputs);
        b.combine(&outputs, &routes, &mut out);
        let alone = b.values(&out);
        let weight = b.vector(&vec![0.7; self.width]).expect("a working device");
        let mut residual = b.floats(self.width, &self.x);
        let mut normed = b.poisoned(positions, self.width);
        b.combine(&outputs, &routes, &mut out);
        b.add_rms_norm(&out, &mut residual, &weight, 1e-6, &mut normed);
        assert!(b.values(&out) == alone, "the sum on the way of a norm is another");
        let residual = b.values(&residual);
        [b.values(&both), b.values(&outputs), alone, residual, b.values(&normed)]
    }
}

#[test]
fn mixtures_of_experts() {
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(21);
    let routers = [(4, 2, true), (128, 8, true), (60, 4, false), (33, 33, true), (8, 1, false)];
    let types = [[DType::Bf16, DType::Bf16], [DType::Q4K, DType::Q6K], [DType::Q8_0, DType::Q4_0]];
    for (experts, chosen, normalised) in routers {
        let router = Router { experts, chosen, normalised };
        for (nth, positions) in [1, 3, 8, 40, 70, 300].into_iter().enumerate() {
            let case = Case::new(types[nth % types.len()], router, positions, dice);
            let found = case.run(&mut cuda);
            let expected = case.run(&mut Naive::new(Rounding::None));
            for (stage, bound) in [4e-3, 8e-3, 8e-3, 8e-3, 1e-2].into_iter().enumerate() {
                let what = format!("{positions} positions, {router:?}, stage {stage}");
                near(&found[stage], &expected[stage], bound, &what);
            }
        }
    }
}

#[test]
fn a_position_s_experts_do_not_depend_on_the_others() {
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(22);
    let router = Router { experts: 16, chosen: 4, normalised: true };
    for dtypes in [[DType::Bf16, DType::Bf16], [DType::Q4K, DType::Q6K]] {
        let mut case = Case::new(dtypes, router, 300, dice);
        let [.., together] = case.run(&mut cuda);
        let (x, scores) = (case.x.clone(), case.scores.clone());
        for (first, count) in [(0, 1), (17, 1), (200, 7), (30, 20), (50, 60), (90, 150)] {
            case.x = x[first * case.width..][..count * case.width].to_vec();
            case.scores = scores[first * 16..][..count * 16].to_vec();
            let [.., some] = case.run(&mut cuda);
            let expected = &together[first * case.width..][..count * case.width];
            assert!(some == expected, "{count} positions from {first} on, {dtypes:?}");
        }
    }
}
