//! The CUDA backend against plain loops: every operation over generated shapes, then small models.
//!
//! Inputs are drawn afresh from a seed, outputs poisoned before they are written. Without a GPU, or
//! without kernels in the build, a test says so and ends.

mod attention;
#[path = "../golden/continuation.rs"]
#[expect(dead_code, reason = "more is there for the CPU")]
mod continuation;
#[path = "../../engine/executor/tests/engine/dice.rs"]
mod dice;
mod draws;
#[path = "../../engine/executor/tests/engine/driver.rs"]
mod driver;
mod ends;
mod experts;
mod fault;
#[path = "../../engine/cpu/tests/reference/floats.rs"]
mod floats;
#[path = "../golden/forced.rs"]
mod forced;
mod formats;
mod fused;
mod gates;
mod models;
#[path = "../../engine/executor/tests/engine/naive.rs"]
mod naive;
mod noise;
mod products;
mod ranks;
#[path = "../golden/reference.rs"]
#[expect(dead_code, reason = "more is there for the CPU")]
mod reference;
mod rows;
#[path = "../../engine/executor/tests/engine/tallies.rs"]
mod tallies;
mod weights;

use std::cell::RefCell;

use engine_cuda::{CudaBackend, OpenError};
use parking_lot::{Mutex, MutexGuard};

/// Whose turn it is. While one backend's launches are captured, no other of the process may wait
/// for the device.
static TURN: Mutex<()> = Mutex::new(());

thread_local! {
    /// A test has its turn until its thread ends.
    static HELD: RefCell<Option<MutexGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// A backend, or the word that there is none.
#[expect(clippy::print_stderr, reason = "says that a test was left out")]
fn gpu() -> Option<CudaBackend> {
    HELD.with(|held| {
        held.borrow_mut().get_or_insert_with(|| TURN.lock());
    });
    match CudaBackend::new() {
        Ok(backend) => Some(backend),
        Err(absent @ (OpenError::NoKernels | OpenError::NoDriver | OpenError::NoDevice)) => {
            eprintln!("left out: {absent}");
            None
        }
        Err(broken) => panic!("{broken}"),
    }
}
