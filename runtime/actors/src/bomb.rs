//! What happens when an actor that everything depends on panics.
//!
//! A panic kills an actor silently: its mailbox closes, and what is sent to it vanishes. A server
//! in which nobody plans or nobody watches the engine looks alive and answers nothing, so it is
//! better gone. Only actors of the control arbiter carry one: nothing but their own panic unwinds
//! there.

use crate::lifecycle::EXIT_ACTOR_PANICKED;

/// Ends the process when the actor that holds it is dropped by a panic.
pub(crate) struct Bomb {
    whose: &'static str,
}

impl Bomb {
    /// A bomb that names its holder in the log.
    pub(crate) fn new(whose: &'static str) -> Self {
        Self { whose }
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(whose = self.whose, "an actor panicked; the process ends");
            std::process::exit(EXIT_ACTOR_PANICKED.into());
        }
    }
}
