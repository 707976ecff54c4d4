//! The CPU backend: the definition of every operation, and a fast path that gives the same bits.
//!
//! Weights stay quantised, packed into tiles of sixteen outputs ([`Matrix`]); activations become
//! bytes block by block; products are integer dot products, scaled in floats. Every operation is
//! written once over sixteen lanes and compiled for three instruction sets, of which plain Rust is
//! the definition. All reductions have one order, whatever the instruction set, the number of
//! threads, or the rows that were computed together: what a row gives depends on the row.
//!
//! `unsafe` is fenced in `simd`, which knows no model. No request, file or model is known here.
//! Start reading at [`CpuBackend`]; the heart is `linear`, with `format`.

mod activation;
mod attention;
mod backend;
mod buffer;
mod cache;
mod combine;
mod embed;
mod exp;
mod experts;
mod format;
mod gated;
mod limits;
mod linear;
mod logprobs;
mod matrix;
mod norm;
mod random;
mod ranks;
mod rope;
mod route;
mod sample;
mod simd;
mod step;
mod tally;

pub use activation::ActivationType;
pub use backend::CpuBackend;
pub use buffer::{Buffer, Vector};
pub use cache::Cache;
pub use experts::Experts;
pub use limits::{Limits, limits};
pub use matrix::Matrix;
pub use ranks::Peer;
pub use route::{Choice, Routes};
pub use simd::Isa;
pub use step::{Done, Step};

/// The widest instructions that this machine has.
#[must_use]
pub fn isa() -> Isa {
    let found = [Isa::Avx512Vnni, Isa::Avx2].into_iter().find(|isa| simd::choose(*isa).is_some());
    found.unwrap_or(Isa::Portable)
}
