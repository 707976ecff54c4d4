//! Why an output is complete, in the wire's words.

use runtime::FinishReason;

use crate::access::Outcome;

/// The word of `finish_reason`.
pub(crate) const fn word(finish: FinishReason) -> &'static str {
    match finish {
        FinishReason::Length => "length",
        FinishReason::Stop => "stop",
        FinishReason::Timeout => "timeout",
    }
}

/// The same for the log.
pub(crate) const fn outcome(finish: FinishReason) -> Outcome {
    match finish {
        FinishReason::Length => Outcome::Length,
        FinishReason::Stop => Outcome::Stop,
        FinishReason::Timeout => Outcome::Timeout,
    }
}
