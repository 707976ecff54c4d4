//! The other devices, through NCCL.
//!
//! Its library is looked for when more than one device is asked for, and nowhere else. What is
//! exchanged is enqueued on the one stream like any kernel, so that a captured step holds it too.
#![expect(unsafe_code, reason = "calls NCCL")]

use std::ffi::CStr;
use std::ptr;

use cudarc::nccl::result::{self, NcclError};
use cudarc::nccl::sys;
use engine_backend::{BackendError, Rank};

use crate::OpenError;
use crate::queue::Queue;

/// What ranks find each other by: made once, and given to all of them.
#[derive(Clone, Copy)]
pub struct PeersId(sys::ncclUniqueId);

/// A rank's connection to the others, cut when it is dropped.
pub(crate) struct Peers {
    rank: Rank,
    communicator: sys::ncclComm_t,
}

impl PeersId {
    /// One that no others have.
    ///
    /// # Errors
    /// NCCL is not installed, or fails.
    pub fn new() -> Result<Self, OpenError> {
        // SAFETY: only looks for the library, and loads it if it is there.
        if !unsafe { sys::is_culib_present() } {
            return Err(OpenError::NoNccl);
        }
        result::get_uniqueid().map(Self).map_err(|error| OpenError::Nccl(text(&error)))
    }
}

impl Peers {
    /// Waits until all ranks do this with the same id, and the device of this thread's context.
    pub(crate) fn join(rank: Rank, id: PeersId) -> Result<Self, OpenError> {
        let narrow = |size: usize| i32::try_from(size).expect("as many ranks as there are GPUs");
        let mut communicator = ptr::null_mut();
        // SAFETY: the communicator is written before this returns, and used only if it succeeds.
        let joined = unsafe {
            let (of, index) = (narrow(rank.of()), narrow(rank.index()));
            result::comm_init_rank(&raw mut communicator, of, id.0, index)
        };
        joined.map_err(|error| OpenError::Nccl(text(&error)))?;
        Ok(Self { rank, communicator })
    }

    /// How many ranks there are.
    pub(crate) fn of(&self) -> usize {
        self.rank.of()
    }

    /// Brings `count` elements of each rank to all, the first one's first.
    ///
    /// # Safety
    /// `from` covers as many floats, and `to` that of all ranks; neither is freed before the stream
    /// has come so far.
    pub(crate) unsafe fn all_gather(&self, queue: &Queue, from: u64, to: u64, count: usize) {
        if count == 0 || queue.is_muted() {
            return;
        }
        let float = sys::ncclDataType_t::ncclFloat32;
        let stream = queue.stream().cu_stream().cast();
        // SAFETY: the caller's promise; addresses are the device's.
        let done = unsafe {
            let (from, to) = (from as *const _, to as *mut _);
            result::all_gather(from, to, count, float, self.communicator, stream)
        };
        if let Err(error) = done {
            queue.faults().note_error(BackendError::Device(format!("NCCL: {}", text(&error))));
        }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        // Also ends what waits for a rank that is gone, which nothing else would.
        // SAFETY: the communicator was made by `join`, and this is the last that is heard of it.
        let _ = unsafe { result::comm_abort(self.communicator) };
    }
}

/// NCCL's words for an error.
fn text(error: &NcclError) -> String {
    // SAFETY: the library was found, and its texts are constants.
    let text = unsafe { CStr::from_ptr(sys::ncclGetErrorString(error.0)) };
    text.to_string_lossy().into_owned()
}
