//! Times whole steps of a large mixture on a GPU, with weights of chance made there, and says how
//! they stand to what reading the memory takes.

#![expect(clippy::print_stdout, reason = "it prints a table")]

mod model;
mod profile;

use std::time::Instant;

use engine_backend::BackendError;
use engine_cuda::CudaBackend;

use model::{Model, QWEN3_30B_A3B, Shape};

/// Bytes a second that a plain read takes on an H100 80GB.
const BANDWIDTH: f64 = 3.05e12;
/// Operations a second of a large product there.
const PRODUCTS: f64 = 750e12;
/// Positions that decoding rows have behind them.
const CONTEXT: usize = 256;
const BATCHES: [usize; 8] = [1, 4, 8, 16, 32, 64, 128, 256];
const PROMPTS: [usize; 2] = [512, 2048];

fn main() -> anyhow::Result<()> {
    let layers = std::env::args().nth(1).and_then(|arg| arg.parse().ok());
    let shape = Shape { layers: layers.unwrap_or(QWEN3_30B_A3B.layers), ..QWEN3_30B_A3B };
    let start = Instant::now();
    let mut backend = CudaBackend::new()?;
    println!("{}", backend.info());
    let mut model = Model::new(&mut backend, shape, 256, 2048)?;
    backend.finish()?;
    println!("{} layers, ready after {:.1} s", shape.layers, start.elapsed().as_secs_f64());
    decode(&mut backend, &mut model)?;
    prefill(&mut backend, &mut model)?;
    profile::run(&mut backend, &mut model)?;
    Ok(())
}

/// Seconds of one call of many.
fn time(
    backend: &mut CudaBackend,
    calls: usize,
    mut call: impl FnMut(&mut CudaBackend),
) -> Result<f64, BackendError> {
    call(backend);
    backend.finish()?;
    let start = Instant::now();
    (0..calls).for_each(|_| call(backend));
    backend.finish()?;
    Ok(start.elapsed().as_secs_f64() / calls as f64)
}

fn decode(backend: &mut CudaBackend, model: &mut Model) -> Result<(), BackendError> {
    println!("\ndecode, {CONTEXT} positions behind each row");
    println!("batch  experts   limit ms   eager ms   graph ms   share");
    for batch in BATCHES {
        model.stage(backend, &vec![(CONTEXT, 1); batch]);
        let experts = model.distinct(backend)?;
        let bytes =
            model.shape().bytes(experts) + (batch * CONTEXT * model.shape().kv_bytes()) as f64;
        let eager = time(backend, 10, |backend| model.run(backend))?;
        let graph = backend.capture(|backend| model.run(backend))?;
        let replayed = time(backend, 20, |backend| backend.replay(&graph))?;
        let limit = bytes / BANDWIDTH;
        println!(
            "{batch:5}  {experts:7.1}  {:9.2}  {:9.2}  {:9.2}  {:5.1}%",
            limit * 1e3,
            eager * 1e3,
            replayed * 1e3,
            limit / replayed * 100.0
        );
    }
    Ok(())
}

fn prefill(backend: &mut CudaBackend, model: &mut Model) -> Result<(), BackendError> {
    println!("\nprefill of one prompt");
    println!("tokens  limit ms   eager ms   graph ms   share");
    for tokens in PROMPTS {
        model.stage(backend, &[(0, tokens)]);
        let experts = model.distinct(backend)?;
        let limit = (model.shape().bytes(experts) / BANDWIDTH)
            .max(model.shape().operations(tokens) / PRODUCTS);
        let eager = time(backend, 3, |backend| model.run(backend))?;
        let graph = backend.capture(|backend| model.run(backend))?;
        let replayed = time(backend, 5, |backend| backend.replay(&graph))?;
        println!(
            "{tokens:6}  {:8.2}  {:9.2}  {:9.2}  {:5.1}%",
            limit * 1e3,
            eager * 1e3,
            replayed * 1e3,
            limit / replayed * 100.0
        );
    }
    Ok(())
}
