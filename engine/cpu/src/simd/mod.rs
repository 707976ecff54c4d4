//! The fence: the only place of this crate with `unsafe`, behind interfaces that are safe to use.
//!
//! Three kinds of things live here. *Lanes*: [`Simd`] is a vector of sixteen lanes, implemented for
//! three instruction sets; operations are written once over it, as [`Kernel`]s. *Sharing*: [`Team`]
//! runs a closure on several threads, [`grid()`] hands them disjoint rectangles of one slice.
//! *Memory*: [`Zeroed`] is storage that the system fills with zeros when it is first touched.
//!
//! No operation of a model is known here.
#![expect(unsafe_code, reason = "intrinsics, disjoint writes from several threads, plain memory")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod cells;
mod grid;
mod isa;
mod lanes;
mod portable;
mod team;
mod zeroed;

pub(crate) use cells::Shared;
pub(crate) use grid::{Cuts, Rect, grid};
pub use isa::Isa;
pub(crate) use isa::{Chosen, choose, run};
pub(crate) use lanes::{Kernel, LANES, Simd};
pub(crate) use team::Team;
pub(crate) use zeroed::Zeroed;
