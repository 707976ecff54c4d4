//! What each operation of a layer takes by itself, in a graph of all layers, so that no weight is
//! found in a cache.

use engine_backend::BackendError;
use engine_cuda::CudaBackend;

use crate::model::Model;
use crate::{Options, time};

/// Prints microseconds an operation for each batch and prompt that was asked for.
pub(crate) fn run(
    backend: &mut CudaBackend,
    model: &mut Model,
    options: &Options,
) -> Result<(), BackendError> {
    println!("\nmicroseconds an operation");
    let mut table: Vec<(&str, Vec<f64>)> = Vec::new();
    let rows = options.decode.iter().map(|&batch| vec![(options.context, 1); batch]);
    let prompts = options.prefill.iter().map(|prompts| vec![(0, prompts.tokens); prompts.count]);
    for rows in rows.chain(prompts) {
        model.stage(backend, &rows);
        for which in 0.. {
            // What was measured before left numbers that no model would.
            model.run(backend);
            let Some((name, seconds)) = one(backend, model, which)? else { break };
            if table.len() == which {
                table.push((name, Vec::new()));
            }
            table[which].1.push(seconds * 1e6);
        }
    }
    print!("{:10}", "batch");
    options.decode.iter().for_each(|batch| print!("{batch:11}"));
    options.prefill.iter().for_each(|prompts| print!("{:>11}", format!("{prompts} p.")));
    println!();
    for (name, times) in table {
        print!("{name:10}");
        times.iter().for_each(|time| print!("{time:11.2}"));
        println!();
    }
    Ok(())
}

fn one(
    backend: &mut CudaBackend,
    model: &mut Model,
    which: usize,
) -> Result<Option<(&'static str, f64)>, BackendError> {
    let layers = model.shape().layers;
    let Some(name) = model.operation(backend, 0, which) else { return Ok(None) };
    let graph = backend.capture(|backend| {
        (0..layers).for_each(|layer| {
            model.operation(backend, layer, which);
        });
    })?;
    let seconds = time(backend, 3, |backend| backend.replay(&graph))?;
    Ok(Some((name, seconds / layers as f64)))
}
