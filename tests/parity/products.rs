//! Products with weights of every type, and what is looked up in them.

use engine_backend::{DType, Draw, Sample, Span, StepLayout};
use engine_cuda::CudaBackend;

use crate::dice::Dice;
use crate::ends::{Ends, between, coarse, near, numbers};
use crate::gpu;
use crate::naive::{Naive, Rounding};
use crate::weights::Weight;

/// One more than the most rows of each shape, and more than a block computes.
const ROWS: [usize; 11] = [1, 2, 8, 9, 16, 17, 32, 33, 65, 130, 300];

/// Scales and what they make of codes are rounded to bf16; sums of few may lose much of their size.
fn bound(dtype: DType) -> f64 {
    if dtype.block_elements() == 1 { 2e-6 } else { 8e-3 }
}

struct Case {
    parts: Vec<Weight>,
    bias: Option<Vec<f32>>,
    x: Vec<f32>,
}

impl Case {
    fn new(dtypes: &[DType], rows: usize, dice: &mut Dice) -> Self {
        let step = dtypes.iter().map(|dtype| dtype.block_elements()).max().unwrap_or(1).max(8);
        let cols = step * between(1, 1 + 1200 / step, dice);
        let part = |&dtype| Weight::new(dtype, between(1, 150, dice), cols, dice);
        Self::of(dtypes.iter().map(part).collect(), rows, dice)
    }

    fn of(parts: Vec<Weight>, rows: usize, dice: &mut Dice) -> Self {
        let cols = parts[0].cols;
        let outputs = parts.iter().map(|part| part.rows).sum();
        let bias = (dice.below(2) == 0).then(|| numbers(outputs, dice));
        Self { parts, bias, x: coarse(rows * cols, dice) }
    }

    fn product<B: Ends>(&self, backend: &mut B, x: &[f32]) -> Vec<f32> {
        let tensors: Vec<_> = self.parts.iter().map(Weight::tensor).collect();
        let weight = backend.matrix(&tensors).expect("a working device");
        let bias = self.bias.as_ref().map(|bias| backend.vector(bias).expect("a working device"));
        let outputs = self.parts.iter().map(|part| part.rows).sum();
        let cols = self.parts[0].cols;
        let x = backend.halves(cols, x);
        let mut out = backend.poisoned(self.x.len() / cols, outputs);
        backend.linear(&x, &weight, bias.as_ref(), &mut out);
        backend.values(&out)
    }

    /// Each row's bits are the same alone.
    fn alone(&self, backend: &mut CudaBackend, together: &[f32], dice: &mut Dice) {
        let cols = self.parts[0].cols;
        let rows = self.x.len() / cols;
        let row = dice.below(rows);
        let found = self.product(backend, &self.x[row * cols..][..cols]);
        let outputs = together.len() / rows;
        assert!(found == together[row * outputs..][..outputs], "row {row} of {rows} by itself");
    }
}

#[test]
fn products_with_weights_of_every_type() {
    let Some(mut cuda) = gpu() else { return };
    let mut plain = Naive::new(Rounding::None);
    let dice = &mut Dice::new(1);
    for dtype in DType::ALL {
        for rows in ROWS {
            let case = Case::new(&[dtype], rows, dice);
            let found = case.product(&mut cuda, &case.x);
            let expected = case.product(&mut plain, &case.x);
            near(&found, &expected, bound(dtype), &format!("{rows} rows of {dtype:?}"));
            case.alone(&mut cuda, &found, dice);
        }
    }
}

#[test]
fn products_with_parts_of_several_types() {
    let Some(mut cuda) = gpu() else { return };
    let mut plain = Naive::new(Rounding::None);
    let dice = &mut Dice::new(2);
    let mixed = [
        [DType::Q4K, DType::Q4K, DType::Q6K],
        [DType::F32, DType::Bf16, DType::F16],
        [DType::Q8_0, DType::Q4_0, DType::Q8_0],
    ];
    for dtypes in mixed {
        for rows in ROWS {
            let case = Case::new(&dtypes, rows, dice);
            let found = case.product(&mut cuda, &case.x);
            let expected = case.product(&mut plain, &case.x);
            near(&found, &expected, 3e-3, &format!("{rows} rows of {dtypes:?}"));
            case.alone(&mut cuda, &found, dice);
        }
    }
}

/// Weights of the sizes that have kernels of their own for few rows.
#[test]
fn products_with_a_weight_as_large_as_a_real_one() {
    let Some(mut cuda) = gpu() else { return };
    let mut plain = Naive::new(Rounding::None);
    let dice = &mut Dice::new(3);
    for dtype in [DType::Bf16, DType::Q4K, DType::Q6K, DType::Q8_0] {
        for (outputs, inputs) in [(5120, 2048), (2050, 4096)] {
            let case = Case::of(vec![Weight::new(dtype, outputs, inputs, dice)], 13, dice);
            let found = case.product(&mut cuda, &case.x);
            let expected = case.product(&mut plain, &case.x);
            near(&found, &expected, bound(dtype), &format!("{outputs} outputs of {dtype:?}"));
            case.alone(&mut cuda, &found, dice);
        }
    }
}

/// Draws nothing in particular from the last position of each of some lone rows.
pub(crate) fn lone_rows(tokens: Vec<u32>, dice: &mut Dice) -> StepLayout {
    let count = tokens.len();
    let draw = Draw::GREEDY;
    let mut kept: Vec<_> = (0..count).collect();
    dice.shuffle(&mut kept);
    let sample = |token: &usize| Sample { token: *token, seat: *token, position: 1, draw };
    StepLayout {
        tokens,
        positions: vec![0; count],
        slots: (0..count as u32).collect(),
        spans: (0..count).map(|i| Span { tokens: i..i + 1, start: 0, blocks: i..i + 1 }).collect(),
        blocks: (0..count as u32).collect(),
        samples: kept[..count.div_ceil(2)].iter().map(sample).collect(),
        ..StepLayout::default()
    }
}

#[test]
fn rows_of_tables_and_of_activations() {
    fn run<B: Ends>(backend: &mut B, table: &Weight, layout: &StepLayout) -> [Vec<f32>; 2] {
        let count = layout.tokens.len();
        let mut step = backend.step(count, count, count, 1).expect("a working device");
        backend.stage(layout, &mut step);
        let matrix = backend.matrix(&[table.tensor()]).expect("a working device");
        let mut out = backend.poisoned(count, table.cols);
        backend.embed(&matrix, &step, 0.37, &mut out);
        let mut picked = backend.poisoned(count, table.cols);
        backend.gather(&out, &step, &mut picked);
        [backend.values(&out), backend.values(&picked)]
    }
    let Some(mut cuda) = gpu() else { return };
    let dice = &mut Dice::new(3);
    for dtype in DType::ALL {
        let cols = dtype.block_elements().max(8) * between(1, 4, dice);
        let rows = between(1, 200, dice);
        let table = Weight::new(dtype, rows, cols, dice);
        let tokens = (0..between(1, 40, dice)).map(|_| dice.below(rows) as u32).collect();
        let layout = lone_rows(tokens, dice);
        let found = run(&mut cuda, &table, &layout);
        let expected = run(&mut Naive::new(Rounding::None), &table, &layout);
        for (found, expected) in found.iter().zip(&expected) {
            near(found, expected, bound(dtype), &format!("rows of {dtype:?}"));
        }
    }
}
