//! Products of experts, where a layer has many and a position chooses some.

use engine_backend::{Backend, BackendError, DType, ExpertInput, Router, Source, Tensor};
use engine_cpu::{CpuBackend, Limits};

use crate::measure::{bytes, filled, report, time};

const ROUTER: Router = Router { experts: 128, chosen: 8, normalised: true };
/// Inputs and outputs of the products of an expert of 768 in a model of 2048, and what they read.
const SHAPES: [(&str, usize, usize, ExpertInput); 2] =
    [("gate_up", 2048, 1536, ExpertInput::Positions), ("down", 768, 2048, ExpertInput::Choices)];
const ROWS: [usize; 4] = [1, 8, 64, 512];
const DTYPES: [DType; 3] = [DType::Q4K, DType::Q8_0, DType::Bf16];

/// Times every product that is wanted, and the choosing and combining around them.
pub(crate) fn experts(
    backend: &mut CpuBackend,
    limits: &Limits,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(), BackendError> {
    for dtype in DTYPES {
        for (name, inputs, outputs, input) in SHAPES {
            let label = format!("{dtype:?} expert {name}");
            if wanted(&label) {
                product(backend, limits, &label, dtype, (inputs, outputs, input))?;
            }
        }
    }
    if wanted("expert routes") {
        routes(backend)?;
    }
    Ok(())
}

/// The weights of all experts are larger than any cache, and each step chooses others.
fn product(
    backend: &mut CpuBackend,
    limits: &Limits,
    label: &str,
    dtype: DType,
    (inputs, outputs, input): (usize, usize, ExpertInput),
) -> Result<(), BackendError> {
    const STEPS: usize = 16;
    let bytes = bytes(dtype, outputs, inputs);
    let tensor = Tensor { dtype, rows: outputs, cols: inputs, source: Source::Bytes(&bytes) };
    let weight = backend.experts(&vec![vec![tensor]; ROUTER.experts])?;
    for rows in ROWS {
        let choices = rows * ROUTER.chosen;
        let from = if input == ExpertInput::Choices { choices } else { rows };
        let x = filled(backend, from, inputs)?;
        let mut out = backend.buffer(choices, outputs)?;
        let mut steps = Vec::new();
        for step in 0..STEPS {
            let mut scores = filled(backend, rows, ROUTER.experts)?;
            let values = scores.values_mut();
            values.iter_mut().enumerate().for_each(|(i, x)| *x = noise(step * 65_537 + i));
            let mut routes = backend.routes(rows, ROUTER)?;
            backend.route(&scores, ROUTER, &mut routes);
            steps.push(routes);
        }
        let read = |ends: &[usize]| usize::from(ends[1] > ends[0]);
        let used: usize =
            steps.iter().map(|routes| routes.starts().windows(2).map(read).sum::<usize>()).sum();
        let mut steps = steps.iter().cycle();
        let seconds = time(|| {
            let routes = steps.next().expect("a cycle has no end");
            backend.expert_linear(&x, input, &weight, routes, &mut out);
        });
        let bytes = bytes.len() * used / STEPS;
        report(limits, (label, rows), seconds, (bytes, choices * inputs * outputs));
    }
    Ok(())
}

/// A number of `0..1` for each `i`, one as likely as another (Steele et al., "Fast splittable
/// pseudorandom number generators", 2014).
fn noise(i: usize) -> f32 {
    let mut x = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ x >> 31) >> 40) as f32 / (1_u32 << 24) as f32
}

fn routes(backend: &mut CpuBackend) -> Result<(), BackendError> {
    const WIDTH: usize = 2048;
    for rows in ROWS {
        let mut scores = filled(backend, rows, ROUTER.experts)?;
        scores.values_mut().iter_mut().enumerate().for_each(|(i, x)| *x = noise(i));
        let mut routes = backend.routes(rows, ROUTER)?;
        let route = time(|| backend.route(&scores, ROUTER, &mut routes));
        let x = filled(backend, rows * ROUTER.chosen, WIDTH)?;
        let mut out = backend.buffer(rows, WIDTH)?;
        let combine = time(|| backend.combine(&x, &routes, &mut out));
        println!(
            "expert routes  {rows:4} rows: route {:8.1} us, combine {:8.1} us",
            route * 1e6,
            combine * 1e6
        );
    }
    Ok(())
}
