//! Times whole steps of a model on a GPU, with weights of chance made there, and says how they
//! stand to what reading the memory takes.

#![expect(clippy::print_stdout, reason = "it prints a table")]

mod attention;
mod kept;
mod loading;
mod model;
mod profile;
mod prompts;
mod shape;

use std::time::Instant;

use clap::Parser;
use engine_backend::BackendError;
use engine_cuda::CudaBackend;

use kept::Kept;
use model::{Limits, Model};
use prompts::Prompts;
use shape::{Known, Shape};

/// Bytes a second that a plain read takes on an H100 80GB.
const BANDWIDTH: f64 = 3.05e12;
/// Operations a second of a large product there.
const PRODUCTS: f64 = 750e12;

#[derive(Parser)]
#[command(about = "Times steps of a model on a GPU, beside what its memory and products allow")]
struct Options {
    #[arg(long, value_enum, default_value = "qwen3-30b-a3b")]
    model: Known,
    /// How weights are kept.
    #[arg(long = "type", value_enum, default_value = "bf16")]
    kept: Kept,
    /// Layers, to be quick; 0: as many as the model has.
    #[arg(long, default_value_t = 0)]
    layers: usize,
    /// Numbers of rows that decode together.
    #[arg(long, value_delimiter = ',', default_value = "1,4,8,16,32,64,128,256")]
    decode: Vec<usize>,
    /// Positions that decoding rows have behind them.
    #[arg(long, default_value_t = 256)]
    context: usize,
    /// Prompts of a step, as TOKENS or COUNTxTOKENS.
    #[arg(long, value_delimiter = ',', default_value = "512,2048,8192,16x1024")]
    prefill: Vec<Prompts>,
    /// Also times each operation by itself.
    #[arg(long)]
    profile: bool,
    /// Also times bringing weights to the device.
    #[arg(long)]
    loading: bool,
    /// Times attention by itself, and nothing else.
    #[arg(long)]
    attention: bool,
    /// Leaves out the tables of whole steps.
    #[arg(long)]
    no_steps: bool,
}

impl Options {
    fn shape(&self) -> Shape {
        let shape = self.model.shape();
        let layers = if self.layers == 0 { shape.layers } else { self.layers };
        Shape { layers, ..shape }
    }

    fn limits(&self) -> Limits {
        let decoding = self.decode.iter().copied().max().unwrap_or(0);
        let most = |of: fn(&Prompts) -> usize| self.prefill.iter().map(of).max().unwrap_or(0);
        let prompts = most(|prompts| prompts.count * prompts.tokens);
        Limits {
            rows: decoding.max(most(|prompts| prompts.count)).max(1),
            tokens: decoding.max(prompts).max(1),
            positions: (decoding * (self.context + 1)).max(prompts).max(1),
        }
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let shape = options.shape();
    let start = Instant::now();
    let mut backend = CudaBackend::new()?.with_weights(options.kept.plain());
    println!("{}", backend.info());
    if options.attention {
        attention::run(&mut backend)?;
        return Ok(());
    }
    let mut model = Model::new(&mut backend, (shape, options.kept), options.limits())?;
    backend.finish()?;
    for (format, bytes) in backend.weights() {
        println!("{:.2} GB of weights in {format}", bytes as f64 / 1e9);
    }
    println!("{} layers, ready after {:.1} s", shape.layers, start.elapsed().as_secs_f64());
    if !options.no_steps {
        decode(&mut backend, &mut model, &options)?;
        prefill(&mut backend, &mut model, &options)?;
    }
    if options.profile {
        profile::run(&mut backend, &mut model, &options)?;
    }
    drop(model);
    if options.loading {
        loading::run()?;
    }
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

fn decode(
    backend: &mut CudaBackend,
    model: &mut Model,
    options: &Options,
) -> Result<(), BackendError> {
    let context = options.context;
    println!("\ndecode, {context} positions behind each row");
    println!("batch  experts   limit ms   eager ms   graph ms   share");
    for &batch in &options.decode {
        model.stage(backend, &vec![(context, 1); batch]);
        let experts = model.distinct(backend)?;
        let bytes = model.bytes(experts) + (batch * context * model.shape().kv_bytes()) as f64;
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

fn prefill(
    backend: &mut CudaBackend,
    model: &mut Model,
    options: &Options,
) -> Result<(), BackendError> {
    println!("\nprefill");
    println!("prompts    limit ms   eager ms   graph ms   share");
    for prompts in &options.prefill {
        let Prompts { count, tokens } = *prompts;
        model.stage(backend, &vec![(0, tokens); count]);
        let experts = model.distinct(backend)?;
        let limit = (model.bytes(experts) / BANDWIDTH)
            .max(model.shape().operations(count, tokens) / PRODUCTS);
        let eager = time(backend, 2, |backend| model.run(backend))?;
        let graph = backend.capture(|backend| model.run(backend))?;
        let replayed = time(backend, 3, |backend| backend.replay(&graph))?;
        println!(
            "{:9}  {:8.2}  {:9.2}  {:9.2}  {:5.1}%",
            prompts.to_string(),
            limit * 1e3,
            eager * 1e3,
            replayed * 1e3,
            limit / replayed * 100.0
        );
    }
    Ok(())
}
