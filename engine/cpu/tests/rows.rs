//! Operations on rows against plain arithmetic.

mod reference;

use engine_backend::{Activation, Backend, Heads, Inherit, Sample, Span, StepLayout};
use reference::{Random, Weights, assert_close, assert_same, backends, buffer, poisoned, tokens};

const WIDTHS: [usize; 5] = [1, 15, 64, 100, 576];

#[test]
fn norms_are_those_of_plain_arithmetic() {
    let mut random = Random(11);
    for width in WIDTHS {
        let (x, weight) = (random.floats(19 * width), random.floats(width));
        let mut right = Vec::new();
        for x in x.chunks_exact(width) {
            let squares: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
            let scale = 1.0 / (squares / width as f64 + 1e-5).sqrt();
            right.extend(x.iter().zip(&weight).map(|(x, w)| f64::from(*x) * scale * f64::from(*w)));
        }
        let mut first: Option<Vec<f32>> = None;
        for (name, mut backend) in backends() {
            let weight = backend.vector(&weight).expect("there is memory");
            let x = buffer(&mut backend, &x, width);
            let mut out = poisoned(&mut backend, 19, width);
            backend.rms_norm(&x, &weight, 1e-5, &mut out);
            assert_close(&name, out.values(), &right, |i| 1e-6 * (1.0 + right[i].abs()));
            assert_same(&name, out.values(), first.get_or_insert_with(|| out.values().to_vec()));
        }
    }
}

#[test]
fn a_norm_with_a_residual_adds_first() {
    let mut random = Random(12);
    for width in WIDTHS {
        let (x, residual) = (random.floats(21 * width), random.floats(21 * width));
        let weight = random.floats(width);
        let sum: Vec<f32> = x.iter().zip(&residual).map(|(x, residual)| residual + x).collect();
        for (name, mut backend) in backends() {
            let weight = backend.vector(&weight).expect("there is memory");
            let x = buffer(&mut backend, &x, width);
            let mut residual = buffer(&mut backend, &residual, width);
            let sum = buffer(&mut backend, &sum, width);
            let (mut out, mut right) =
                (poisoned(&mut backend, 21, width), poisoned(&mut backend, 21, width));
            backend.add_rms_norm(&x, &mut residual, &weight, 1e-6, &mut out);
            backend.rms_norm(&sum, &weight, 1e-6, &mut right);
            assert_same(&name, residual.values(), sum.values());
            assert_same(&name, out.values(), right.values());
        }
    }
}

/// A head is normed as a row of its own would be, bit for bit, and values are left alone.
#[test]
fn head_norms_are_norms_of_heads() {
    let mut random = Random(16);
    for dim in [1, 15, 64, 100, 128] {
        let heads = Heads { queries: 6, keys_values: 2, dim };
        let (query, key) = (random.floats(dim), random.floats(dim));
        let x = random.floats(19 * heads.qkv_width());
        let mut first: Option<Vec<f32>> = None;
        for (name, mut backend) in backends() {
            let query = backend.vector(&query).expect("there is memory");
            let key = backend.vector(&key).expect("there is memory");
            let mut qkv = buffer(&mut backend, &x, heads.qkv_width());
            backend.head_rms_norm(&mut qkv, heads, &query, &key, 1e-5);
            let rows = buffer(&mut backend, &x, dim);
            let mut by_query = poisoned(&mut backend, rows.rows(), dim);
            let mut by_key = poisoned(&mut backend, rows.rows(), dim);
            backend.rms_norm(&rows, &query, 1e-5, &mut by_query);
            backend.rms_norm(&rows, &key, 1e-5, &mut by_key);
            let right = |nth: usize| match nth % 10 {
                0..6 => &by_query,
                6..8 => &by_key,
                _ => &rows,
            };
            let right: Vec<f32> = (0..rows.rows())
                .flat_map(|nth| &right(nth).values()[nth * dim..][..dim])
                .copied()
                .collect();
            assert_same(&name, qkv.values(), &right);
            assert_same(&name, qkv.values(), first.get_or_insert_with(|| right.clone()));
        }
    }
}

type Plain = fn(f64) -> f64;

/// Activations in double precision, and how much one may be off where it is next to nothing: there
/// the exponent's rounding shows.
const ACTIVATIONS: [(Activation, Plain, f64); 2] = [
    (Activation::Silu, |x| x / (1.0 + (-x).exp()), 1e-30),
    (
        Activation::Gelu,
        |x| {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            // As `x / 2 * (1 + tanh(u))`, without what cancels.
            x / (1.0 + (-2.0 * u).exp())
        },
        1e-8,
    ),
];

#[test]
fn gates_are_those_of_plain_arithmetic() {
    let mut random = Random(13);
    for (width, (activation, plain, least)) in
        WIDTHS.into_iter().flat_map(|width| ACTIVATIONS.map(|activation| (width, activation)))
    {
        let mut gate_up = random.floats(10 * width * 2);
        gate_up.iter_mut().for_each(|x| *x *= 20.0);
        gate_up[0] = -200.0;
        let mut right = Vec::new();
        for row in gate_up.chunks_exact(2 * width) {
            let (gate, up) = row.split_at(width);
            let products = gate.iter().zip(up);
            right.extend(products.map(|(gate, up)| plain(f64::from(*gate)) * f64::from(*up)));
        }
        let mut first: Option<Vec<f32>> = None;
        for (name, mut backend) in backends() {
            let name = format!("{activation:?}, {name}");
            let gate_up = buffer(&mut backend, &gate_up, 2 * width);
            let mut out = poisoned(&mut backend, 10, width);
            backend.gated(&gate_up, activation, &mut out);
            assert_close(&name, out.values(), &right, |i| 1e-6 * right[i].abs() + least);
            assert_same(&name, out.values(), first.get_or_insert_with(|| out.values().to_vec()));
        }
    }
}

#[test]
fn what_is_not_a_number_stays_so() {
    for (name, mut backend) in backends() {
        for (activation, ..) in ACTIVATIONS {
            let mut values = [1.0; 64];
            values[5] = f32::NAN;
            let gate_up = buffer(&mut backend, &values, 64);
            let mut out = poisoned(&mut backend, 1, 32);
            backend.gated(&gate_up, activation, &mut out);
            let flawed: Vec<_> = out.values().iter().map(|x| x.is_nan()).collect();
            assert_eq!(flawed, (0..32).map(|i| i == 5).collect::<Vec<_>>(), "{name}");
        }
    }
}

#[test]
fn gathered_rows_are_those_that_draw() {
    let mut random = Random(14);
    let x = random.floats(6 * 10);
    for (_, mut backend) in backends() {
        let x = buffer(&mut backend, &x, 10);
        let mut layout = tokens(&[0; 6]);
        layout.spans = vec![Span { tokens: 0..6, start: 0, blocks: 0..0 }];
        layout.samples = [4, 0].map(|token| sample(token, 0)).to_vec();
        let mut step = backend.step(2, 6, 1, 1).expect("there is memory");
        backend.stage(&layout, &mut step);
        let mut out = poisoned(&mut backend, 2, 10);
        backend.gather(&x, &step, &mut out);
        assert_eq!(out.values(), [&x.values()[40..50], &x.values()[..10]].concat());
    }
}

fn sample(token: usize, seat: usize) -> Sample {
    let draw = engine_backend::Draw::GREEDY;
    Sample { token, seat, position: 1, draw }
}

#[test]
fn a_seat_inherits_what_was_drawn_at_it() {
    let weights = Weights::random(&mut Random(15), engine_backend::DType::F32, 9, 4);
    for (name, mut backend) in backends() {
        let table = backend.matrix(&[weights.tensor()]).expect("there is memory");
        let mut step = backend.step(4, 4, 1, 1).expect("there is memory");
        let mut layout: StepLayout = tokens(&[0, 0]);
        layout.samples = vec![sample(0, 3), sample(1, 1)];
        backend.stage(&layout, &mut step);
        let mut logits = [0.0; 18];
        logits[7] = 1.0;
        logits[9 + 2] = 1.0;
        let logits = buffer(&mut backend, &logits, 9);
        backend.sample(&logits, &step);
        let mut layout = tokens(&[5, 0, 0]);
        layout.inherits = vec![Inherit { token: 1, seat: 1 }, Inherit { token: 2, seat: 3 }];
        backend.stage(&layout, &mut step);
        let mut out = poisoned(&mut backend, 3, 4);
        backend.embed(&table, &step, 1.0, &mut out);
        let floats = weights.floats();
        let right = [5, 2, 7].map(|id| &floats[4 * id..][..4]).concat();
        assert_same(&name, out.values(), &right);
    }
}
