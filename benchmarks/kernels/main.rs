//! Times the operations of models' shapes, and says how they stand to the machine's limits.

#![expect(clippy::print_stdout, reason = "it prints a table")]

mod attention;
mod experts;
mod measure;
mod products;

use engine_backend::BackendError;
use engine_cpu::{CpuBackend, isa, limits};

fn main() -> Result<(), BackendError> {
    let threads = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(0);
    let only = std::env::args().nth(2);
    let mut backend = CpuBackend::new(threads);
    let limits = limits(backend.threads(), isa())?.expect("the machine has what was found");
    println!(
        "{}, {} threads: reads {:.1} GB/s, {:.0} GOP/s of bytes",
        isa(),
        backend.threads(),
        limits.bytes / 1e9,
        2.0 * limits.products / 1e9
    );
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    products::products(&mut backend, &limits, &wanted)?;
    experts::experts(&mut backend, &limits, &wanted)?;
    if wanted("attention") {
        attention::attention(&mut backend)?;
    }
    Ok(())
}
