//! The end of a step.

use std::sync::Arc;

use engine_backend::{BackendError, Event};

use crate::fault::{Faults, device_error};
use crate::step::Slot;

/// What a draw gives where logits are not finite.
const NOT_FINITE: u32 = u32::MAX;

/// The end of a step; holds the memory that its tokens land in.
pub struct Done {
    pub(crate) slot: Arc<Slot>,
    pub(crate) samples: usize,
    pub(crate) faults: Faults,
}

impl Event for Done {
    fn wait(self) -> Result<Vec<Option<u32>>, BackendError> {
        // Makes the context current first: whoever waits need not be the thread that launched.
        self.slot.end.synchronize().map_err(device_error)?;
        self.faults.check()?;
        let drawn = &self.slot.drawn.words()[..self.samples];
        Ok(drawn.iter().map(|&token| (token != NOT_FINITE).then_some(token)).collect())
    }
}
