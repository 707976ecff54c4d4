//! Products and embeddings against plain arithmetic, and against themselves done another way.

mod reference;

use engine_backend::{Backend, BackendError, DType};
use engine_cpu::{ActivationType, CpuBackend, Isa};
use reference::{Random, Weights, assert_close, assert_same, backends, buffer, poisoned, tokens};

fn product(
    backend: &mut CpuBackend,
    weights: &[&Weights],
    x: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let tensors: Vec<_> = weights.iter().map(|weights| weights.tensor()).collect();
    let matrix = backend.matrix(&tensors).expect("there is memory");
    let bias = bias.map(|bias| backend.vector(bias).expect("there is memory"));
    let x = buffer(backend, x, matrix.inputs());
    let mut out = poisoned(backend, x.rows(), matrix.outputs());
    backend.linear(&x, &matrix, bias.as_ref(), &mut out);
    out.values().to_vec()
}

/// By how much a product may be off.
#[derive(Default)]
struct Tolerances {
    /// With activations of one byte.
    int8: Vec<f64>,
    /// With activations of two.
    int16: Vec<f64>,
}

/// The product in double precision.
fn plain(weights: &Weights, x: &[f32], bias: &[f32]) -> (Vec<f64>, Tolerances) {
    let table = weights.floats();
    let quantised = !matches!(weights.dtype, DType::Bf16 | DType::F16 | DType::F32);
    let (mut products, mut tolerances) = (Vec::new(), Tolerances::default());
    for x in x.chunks_exact(weights.cols) {
        for (w, bias) in table.chunks_exact(weights.cols).zip(bias) {
            let (mut sum, mut size, mut rounding) = (f64::from(*bias), 0.0, 0.0);
            for (x, w) in x.chunks(32).zip(w.chunks(32)) {
                let largest = x.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
                for (x, w) in x.iter().zip(w) {
                    sum += f64::from(*x) * f64::from(*w);
                    size += (f64::from(*x) * f64::from(*w)).abs();
                    rounding += f64::from(w.abs()) * f64::from(largest) / 253.0;
                }
            }
            products.push(sum);
            // Sums of minima and of codes cancel, so their size is that of the weights' range.
            let exact = 1e-5 * (size + f64::from(bias.abs())) + 1e-5;
            let rounding = if quantised { rounding } else { 0.0 };
            tolerances.int8.push(exact + rounding);
            tolerances.int16.push(exact + rounding / 250.0);
        }
    }
    (products, tolerances)
}

#[test]
fn products_are_those_of_plain_arithmetic_on_every_instruction_set() {
    let mut random = Random(1);
    for (outputs, cols, rows) in [(1, 256, 1), (15, 512, 3), (40, 256, 17), (100, 768, 33)] {
        for dtype in DType::ALL {
            let weights = Weights::random(&mut random, dtype, outputs, cols);
            let x = random.floats(rows * cols);
            let bias = random.floats(outputs);
            let (right, tolerances) = plain(&weights, &x, &bias);
            let mut first: Option<Vec<f32>> = None;
            for (name, mut backend) in backends() {
                let what = format!("{dtype:?}, {outputs} by {cols}, {rows} rows, {name}");
                let found = product(&mut backend, &[&weights], &x, Some(&bias));
                assert_close(&what, &found, &right, |i| tolerances.int8[i]);
                assert_same(&what, &found, first.get_or_insert_with(|| found.clone()));
            }
        }
    }
}

#[test]
fn two_bytes_keep_what_one_loses() {
    let mut random = Random(9);
    for (outputs, cols, rows) in [(40, 256, 17), (100, 768, 3)] {
        for dtype in DType::ALL {
            let weights = Weights::random(&mut random, dtype, outputs, cols);
            let x = random.floats(rows * cols);
            let (right, tolerances) = plain(&weights, &x, &vec![0.0; outputs]);
            let mut first: Option<Vec<f32>> = None;
            for (name, backend) in backends() {
                let mut backend = backend.with_activations(ActivationType::Int16);
                let what = format!("{dtype:?}, {outputs} by {cols}, {rows} rows, {name}");
                let found = product(&mut backend, &[&weights], &x, None);
                assert_close(&what, &found, &right, |i| tolerances.int16[i]);
                assert_same(&what, &found, first.get_or_insert_with(|| found.clone()));
            }
        }
    }
}

#[test]
fn floats_need_no_whole_blocks() {
    let mut random = Random(2);
    for dtype in [DType::Bf16, DType::F16, DType::F32] {
        for cols in [1, 31, 33, 100] {
            let weights = Weights::random(&mut random, dtype, 20, cols);
            let x = random.floats(5 * cols);
            let (right, tolerances) = plain(&weights, &x, &[0.0; 20]);
            for (name, mut backend) in backends() {
                let found = product(&mut backend, &[&weights], &x, None);
                assert_close(&format!("{dtype:?}, {cols}, {name}"), &found, &right, |i| {
                    tolerances.int8[i]
                });
            }
        }
    }
}

#[test]
fn a_row_gives_the_same_bits_in_any_batch() {
    let mut random = Random(3);
    for dtype in DType::ALL {
        let weights = Weights::random(&mut random, dtype, 50, 512);
        let x = random.floats(200 * 512);
        for (name, mut backend) in backends() {
            let together = product(&mut backend, &[&weights], &x, None);
            for split in [1, 2, 5, 16, 23, 150] {
                let parts = x.chunks(split * 512);
                let apart: Vec<f32> =
                    parts.flat_map(|x| product(&mut backend, &[&weights], x, None)).collect();
                assert_same(&format!("{dtype:?} by {split}, {name}"), &together, &apart);
            }
        }
    }
}

#[test]
fn rows_of_many_inputs_are_cut_without_a_trace() {
    // So many inputs that a task takes sixteen rows at a time.
    let mut random = Random(4);
    let weights = Weights::random(&mut random, DType::Q4_1, 17, 16_384);
    let x = random.floats(40 * 16_384);
    for (name, mut backend) in backends() {
        let together = product(&mut backend, &[&weights], &x, None);
        let rows = x.chunks(16_384);
        let apart: Vec<f32> =
            rows.flat_map(|x| product(&mut backend, &[&weights], x, None)).collect();
        assert_same(&name, &together, &apart);
    }
}

#[test]
fn parts_of_different_types_stand_side_by_side() {
    let mut random = Random(5);
    let parts = [(DType::Q4_1, 33), (DType::F16, 16), (DType::Q6K, 7), (DType::Q8_0, 100)];
    let parts = parts.map(|(dtype, rows)| Weights::random(&mut random, dtype, rows, 256));
    let x = random.floats(9 * 256);
    for (name, mut backend) in backends() {
        let together = product(&mut backend, &parts.each_ref(), &x, None);
        let apart = parts.each_ref().map(|part| product(&mut backend, &[part], &x, None));
        for (row, together) in together.chunks_exact(156).enumerate() {
            let row: Vec<f32> = apart
                .iter()
                .zip(&parts)
                .flat_map(|(out, part)| &out[row * part.rows..][..part.rows])
                .copied()
                .collect();
            assert_same(&name, together, &row);
        }
    }
}

#[test]
fn what_is_not_finite_stays_in_its_row() {
    let mut random = Random(6);
    for dtype in DType::ALL {
        let weights = Weights::random(&mut random, dtype, 20, 256);
        let x = random.floats(3 * 256);
        for flaw in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (name, mut backend) in backends() {
                let right = product(&mut backend, &[&weights], &x, None);
                let mut flawed = x.clone();
                flawed[256 + 77] = flaw;
                let found = product(&mut backend, &[&weights], &flawed, None);
                assert!(found[20..40].iter().all(|x| !x.is_finite()), "{dtype:?} {flaw} {name}");
                assert_same(&name, &found[..20], &right[..20]);
                assert_same(&name, &found[40..], &right[40..]);
            }
        }
    }
}

#[test]
fn inputs_of_any_size_are_scaled() {
    let weights = Weights::random(&mut Random(7), DType::Q8_0, 20, 64);
    for size in [0.0, 1e-42, 1e-30, 1e-3, 1e6, 1e30] {
        let x: Vec<f32> = Random(8).floats(64).iter().map(|x| x * size).collect();
        let (right, tolerances) = plain(&weights, &x, &[0.0; 20]);
        for (name, mut backend) in backends() {
            let found = product(&mut backend, &[&weights], &x, None);
            assert_close(&format!("{size} {name}"), &found, &right, |i| tolerances.int8[i]);
        }
    }
}

#[test]
fn embeddings_are_the_weights_themselves() {
    let mut random = Random(9);
    for dtype in DType::ALL {
        let weights = Weights::random(&mut random, dtype, 37, 256);
        let right = weights.floats();
        for (name, mut backend) in backends() {
            let table = backend.matrix(&[weights.tensor()]).expect("there is memory");
            let ids = [36, 0, 5, 5, 17, 16, 15, 31, 32, 1];
            let mut step = backend.step(1, ids.len(), 1, 1).expect("there is memory");
            backend.stage(&tokens(&ids), &mut step);
            let mut out = poisoned(&mut backend, ids.len(), 256);
            backend.embed(&table, &step, 1.0, &mut out);
            for (id, out) in ids.into_iter().zip(out.values().chunks_exact(256)) {
                assert_same(
                    &format!("{dtype:?} {id} {name}"),
                    out,
                    &right[id as usize * 256..][..256],
                );
            }
            let one = out.values().to_vec();
            backend.embed(&table, &step, 1.7, &mut out);
            let scaled: Vec<f32> = one.iter().map(|x| x * 1.7).collect();
            assert_same(&format!("{dtype:?} {name}"), out.values(), &scaled);
        }
    }
}

#[test]
fn too_much_memory_is_an_error() {
    let mut backend = CpuBackend::with_isa(1, Isa::Portable).unwrap();
    for (rows, width) in [(1 << 40, 1 << 10), (usize::MAX, 2)] {
        let refused = backend.buffer(rows, width).err();
        assert!(matches!(refused, Some(BackendError::OutOfMemory { .. })), "{refused:?}");
    }
}
