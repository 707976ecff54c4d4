//! The one place that reads a clock.
//!
//! Everything else in this crate speaks of [`Tick`]s, so that a moment measured on one thread can
//! be compared with one measured on another.

use std::time::{Duration, Instant};

use runtime_core::Tick;

/// Turns the machine's monotonic time into ticks since the runtime's start. Copies agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose origin is now.
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// This moment.
    pub(crate) fn now(self) -> Tick {
        // 2^64 microseconds are half a million years.
        Tick(micros(self.origin.elapsed()))
    }
}

/// From `from` to `to`; nothing if `to` is earlier.
pub(crate) fn between(from: Tick, to: Tick) -> Duration {
    Duration::from_micros(to.0.saturating_sub(from.0))
}

/// Whole microseconds; as many as there are numbers for, if it is longer.
#[must_use]
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The moment `duration` after `from`.
pub(crate) fn after(from: Tick, duration: Duration) -> Tick {
    Tick(from.0.saturating_add(micros(duration)))
}
