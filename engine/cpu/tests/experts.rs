//! Routes and products of experts against plain arithmetic, and against products of one expert.

mod reference;

use engine_backend::{Backend, DType, ExpertInput, Router, Tensor};
use engine_cpu::{Buffer, CpuBackend, Experts, Routes};
use reference::{Random, Weights, assert_close, assert_same, backends, buffer, poisoned};

const ROUTERS: [Router; 5] = [
    Router { experts: 1, chosen: 1, normalised: false },
    Router { experts: 5, chosen: 5, normalised: true },
    Router { experts: 8, chosen: 2, normalised: false },
    Router { experts: 60, chosen: 4, normalised: false },
    Router { experts: 128, chosen: 8, normalised: true },
];

fn routed(backend: &mut CpuBackend, scores: &[f32], router: Router) -> Routes {
    let scores = buffer(backend, scores, router.experts);
    let mut routes = backend.routes(scores.rows(), router).expect("there is memory");
    backend.route(&scores, router, &mut routes);
    routes
}

/// The experts of one position with their weights, the largest first.
fn plain(scores: &[f32], router: Router) -> Vec<(u32, f64)> {
    let weights: Vec<f64> = scores.iter().map(|score| f64::from(*score).exp()).collect();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order.truncate(router.chosen);
    let total: f64 = if router.normalised {
        order.iter().map(|expert| weights[*expert]).sum()
    } else {
        weights.iter().sum()
    };
    order.into_iter().map(|expert| (expert as u32, weights[expert] / total)).collect()
}

#[test]
fn positions_choose_the_largest_scores() {
    let mut random = Random(31);
    for router in ROUTERS {
        // Few different scores, so that many are equal.
        let scores: Vec<f32> =
            (0..37 * router.experts).map(|_| random.below(20) as f32 / 4.0 - 3.0).collect();
        let mut first: Option<Vec<f32>> = None;
        for (name, mut backend) in backends() {
            let routes = routed(&mut backend, &scores, router);
            let mut weights = Vec::new();
            for (position, scores) in scores.chunks_exact(router.experts).enumerate() {
                let right = plain(scores, router);
                let found = routes.of(position);
                let experts: Vec<u32> = found.iter().map(|choice| choice.expert).collect();
                assert!(experts.iter().eq(right.iter().map(|(expert, _)| expert)), "{name}");
                let found: Vec<f32> = found.iter().map(|choice| choice.weight).collect();
                let right: Vec<f64> = right.iter().map(|(_, weight)| *weight).collect();
                assert_close(&name, &found, &right, |i| 1e-6 * right[i]);
                weights.extend(found);
            }
            assert_same(&name, &weights, first.get_or_insert_with(|| weights.clone()));
        }
    }
}

#[test]
fn choices_lie_by_expert_then_by_position() {
    let mut random = Random(32);
    for router in ROUTERS {
        let scores = random.floats(50 * router.experts);
        for (name, mut backend) in backends() {
            let routes = routed(&mut backend, &scores, router);
            let mut right: Vec<(u32, u32)> = (0..50)
                .flat_map(|position| {
                    routes.of(position as usize).iter().map(move |choice| (choice.expert, position))
                })
                .collect();
            right.sort_unstable();
            let positions: Vec<u32> = right.iter().map(|(_, position)| *position).collect();
            assert_eq!(routes.positions(), positions, "{name}");
            for expert in 0..=router.experts {
                let before = right.iter().filter(|choice| (choice.0 as usize) < expert).count();
                assert_eq!(routes.starts()[expert], before, "{name}");
            }
            for position in 0..50 {
                for choice in routes.of(position as usize) {
                    assert_eq!(right[choice.row as usize], (choice.expert, position), "{name}");
                }
            }
        }
    }
}

#[test]
fn scores_that_are_not_finite_make_weights_that_are_not() {
    let mut random = Random(33);
    for router in ROUTERS {
        let scores = random.floats(9 * router.experts);
        for flaw in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (name, mut backend) in backends() {
                let right = routed(&mut backend, &scores, router);
                let mut flawed = scores.clone();
                flawed[2 * router.experts + router.experts / 2] = flaw;
                flawed[5 * router.experts..6 * router.experts].fill(flaw);
                let found = routed(&mut backend, &flawed, router);
                for position in 0..9 {
                    let weights = |routes: &Routes| -> Vec<f32> {
                        routes.of(position).iter().map(|choice| choice.weight).collect()
                    };
                    if [2, 5].contains(&position) {
                        assert!(weights(&found).iter().all(|x| !x.is_finite()), "{flaw} {name}");
                    } else {
                        assert_same(&name, &weights(&found), &weights(&right));
                    }
                }
            }
        }
    }
}

/// Experts of some parts, and each of them as a weight of its own.
struct Layer {
    parts: Vec<Vec<Weights>>,
}

impl Layer {
    /// Experts with parts of these types and outputs.
    fn random(random: &mut Random, experts: usize, parts: &[(DType, usize)], cols: usize) -> Self {
        let mut expert = || {
            let part =
                |(dtype, rows): &(DType, usize)| Weights::random(random, *dtype, *rows, cols);
            parts.iter().map(part).collect()
        };
        Self { parts: (0..experts).map(|_| expert()).collect() }
    }

    fn tensors(&self) -> Vec<Vec<Tensor<'_>>> {
        self.parts.iter().map(|parts| parts.iter().map(Weights::tensor).collect()).collect()
    }

    fn experts(&self, backend: &mut CpuBackend) -> Experts {
        backend.experts(&self.tensors()).expect("there is memory")
    }

    /// What each choice gives by [`Backend::linear`] of its expert, row by row.
    fn apart(&self, backend: &mut CpuBackend, x: &Buffer, routes: &Routes, of: Of) -> Vec<f32> {
        let matrices: Vec<_> = self
            .tensors()
            .iter()
            .map(|parts| backend.matrix(parts).expect("there is memory"))
            .collect();
        let mut outputs = Vec::new();
        for (expert, ends) in routes.starts().windows(2).enumerate() {
            for row in ends[0]..ends[1] {
                let from = of(row, routes);
                let x = buffer(backend, &x.values()[from * x.width()..][..x.width()], x.width());
                let mut out = poisoned(backend, 1, matrices[expert].outputs());
                backend.linear(&x, &matrices[expert], None, &mut out);
                outputs.extend(out.values());
            }
        }
        outputs
    }
}

/// The row of the input that a choice reads.
type Of = fn(usize, &Routes) -> usize;

const INPUTS: [(ExpertInput, Of); 2] = [
    (ExpertInput::Positions, |row, routes| routes.positions()[row] as usize),
    (ExpertInput::Choices, |row, _| row),
];

/// Compares the product of all experts with products of one row and one expert, bit by bit.
fn compare(layer: &Layer, router: Router, rows: usize, random: &mut Random) {
    let scores = random.floats(rows * router.experts);
    for (input, of) in INPUTS {
        let inputs = match input {
            ExpertInput::Choices => rows * router.chosen,
            ExpertInput::Positions => rows,
        };
        let cols = layer.parts[0][0].cols;
        let values = random.floats(inputs * cols);
        let mut first: Option<Vec<f32>> = None;
        for (name, mut backend) in backends() {
            let name = format!("{rows} rows, {input:?}, {name}");
            let routes = routed(&mut backend, &scores, router);
            let experts = layer.experts(&mut backend);
            let x = buffer(&mut backend, &values, cols);
            let mut out = poisoned(&mut backend, rows * router.chosen, experts.outputs());
            backend.expert_linear(&x, input, &experts, &routes, &mut out);
            let right = first.get_or_insert_with(|| layer.apart(&mut backend, &x, &routes, of));
            assert_same(&name, out.values(), right);
        }
    }
}

#[test]
fn a_choice_gives_the_bits_that_its_expert_gives_its_row_alone() {
    let mut random = Random(34);
    for dtype in DType::ALL {
        let layer = Layer::random(&mut random, 8, &[(dtype, 33), (dtype, 20)], 256);
        for rows in [1, 3, 40] {
            compare(&layer, ROUTERS[2], rows, &mut random);
        }
    }
}

#[test]
fn experts_need_not_be_alike_in_type_nor_have_whole_blocks() {
    let mut random = Random(35);
    let layer = Layer::random(&mut random, 8, &[(DType::F32, 17), (DType::F16, 16)], 45);
    compare(&layer, ROUTERS[2], 21, &mut random);
    let mut layer = Layer::random(&mut random, 8, &[(DType::Q4K, 17), (DType::Bf16, 16)], 256);
    let other = Layer::random(&mut random, 1, &[(DType::F32, 17), (DType::Q6K, 16)], 256);
    layer.parts[3] = other.parts.into_iter().next().expect("one expert");
    compare(&layer, ROUTERS[2], 21, &mut random);
}

/// So many rows for an expert that they are cut, and so many experts that most have none.
#[test]
fn rows_of_an_expert_are_cut_without_a_trace() {
    let mut random = Random(36);
    let router = Router { experts: 2, chosen: 1, normalised: true };
    let layer = Layer::random(&mut random, 2, &[(DType::Q4_1, 17)], 8192);
    compare(&layer, router, 90, &mut random);
    let layer = Layer::random(&mut random, 128, &[(DType::Q8_0, 20)], 64);
    compare(&layer, ROUTERS[4], 2, &mut random);
    compare(&layer, ROUTERS[4], 0, &mut random);
}

#[test]
fn combined_rows_are_sums_by_weight() {
    let mut random = Random(37);
    for router in ROUTERS {
        for width in [1, 15, 100] {
            let scores = random.floats(19 * router.experts);
            let x = random.floats(19 * router.chosen * width);
            for (name, mut backend) in backends() {
                let routes = routed(&mut backend, &scores, router);
                let mut right = vec![0.0; 19 * width];
                for (position, sums) in right.chunks_exact_mut(width).enumerate() {
                    for choice in routes.of(position) {
                        let x = &x[choice.row as usize * width..][..width];
                        sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += choice.weight * x);
                    }
                }
                let x = buffer(&mut backend, &x, width);
                let mut out = poisoned(&mut backend, 19, width);
                backend.combine(&x, &routes, &mut out);
                assert_same(&name, out.values(), &right);
            }
        }
    }
}

#[test]
fn a_gate_weighs_what_is_added() {
    let mut random = Random(38);
    for width in [1, 15, 100] {
        let (sum, x) = (random.floats(21 * width), random.floats(21 * width));
        let mut gate: Vec<f32> = random.floats(21).iter().map(|x| x * 8.0).collect();
        gate[3] = 200.0;
        gate[4] = -200.0;
        let mut right = Vec::new();
        for (i, (sum, x)) in sum.iter().zip(&x).enumerate() {
            let factor = 1.0 / (1.0 + (-f64::from(gate[i / width])).exp());
            right.push(f64::from(*sum) + f64::from(*x) * factor);
        }
        let mut first: Option<Vec<f32>> = None;
        for (name, mut backend) in backends() {
            let x = buffer(&mut backend, &x, width);
            let gate = buffer(&mut backend, &gate, 1);
            let mut out = buffer(&mut backend, &sum, width);
            backend.add_gated(&x, &gate, &mut out);
            assert_close(&name, out.values(), &right, |_| 5e-7);
            assert_same(&name, out.values(), first.get_or_insert_with(|| out.values().to_vec()));
        }
    }
}
