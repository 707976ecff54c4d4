//! The CUDA backend: every operation as a kernel on one stream of an NVIDIA GPU.
//!
//! [`CudaBackend`] enqueues and returns: nothing at step time allocates or waits. The driver is
//! loaded when a backend is made, and kernels are compiled into the binary when it is built, so the
//! same binary runs where there is no GPU. This is the one crate that knows the driver; it knows no
//! model, request or scheduler. Start reading at `backend.rs`; each operation is a kernel in
//! `kernels/` and its launch in the file of the same name here.
//!
//! Numbers. Plain weights are bf16, or floats of eight bits if that is asked for; of quantised
//! ones, those in four, six and eight bits with a scale, or a scale and a minimum, keep their codes
//! and become bf16 inside the product. Their scales and minimums are bf16, too: a part of 512 of a
//! scale is lost, far less than the codes lost before. Products are the tensor cores', of bf16 with
//! sums in f32. So activations are f32 but where a product reads them: whoever writes such a buffer
//! rounds it, once, to bf16. The residual, projections, scores, logits and experts' outputs lose
//! nothing. Keys and values are f16, three bits finer than bf16.
//!
//! Order. Every reduction has one order, a function of shapes and of a row's own position, which
//! the kernels for few and for many rows share; there are no atomic sums of floats. So a sequence's
//! tokens are the same alone and in any batch, however its prompt was cut.
//!
//! Several GPUs. Each is a rank with a backend and a thread of its own. What ranks have goes
//! through NCCL, whose library is loaded when there is more than one.
//!
//! Overlap. A kernel may begin before the one ahead of it has ended, and waits by itself before it
//! reads what another wrote; until then it asks for weights, as many as fit on the device's
//! multiprocessors, at a pace that leaves the memory to those who still read. Where rows are few, a
//! step is as long as its kernels wait for each other: so what can be done on the way of another
//! operation is put off until it is known which one comes after (`put_off.rs`). The first kernel of
//! a step begins when the step is staged and all earlier ones have ended, so kernels may read early
//! what those wrote.

mod absence;
mod attention;
mod backend;
mod buffer;
mod cache;
mod device;
mod embed;
mod event;
mod experts;
mod fault;
mod format;
mod gated;
mod graph;
mod job;
mod kernels;
mod linear;
mod lone;
mod matrix;
mod memory;
mod mixture;
mod module;
mod noise;
mod norm;
mod pack;
mod peers;
mod pieces;
mod pinned;
mod pipelined;
mod put_off;
mod queue;
mod ranks;
mod resident;
mod rope;
mod route;
mod router;
mod sample;
mod skinny;
mod sliced;
mod span;
mod step;
mod strips;
mod tally;
mod tensor;
mod upload;

pub use absence::OpenError;
pub use backend::CudaBackend;
pub use buffer::{Buffer, Element, Vector};
pub use cache::Cache;
pub use device::{DeviceInfo, count};
pub use event::Done;
pub use experts::Experts;
pub use format::{Format, WeightType};
pub use graph::Graph;
pub use matrix::Matrix;
pub use peers::PeersId;
pub use route::Routes;
pub use step::Step;
