//! Where the last message of a rendered conversation ends, when it is to go on.
//!
//! A template writes what closes a message without saying where that begins. So the last message
//! carries a tag at its end, and the rendered text is cut there.

use crate::{Conversation, TemplateError};

/// A noncharacter: Unicode reserves it for a program's own use, so texts hardly ever have it.
pub(super) const TAG: &str = "\u{FDD1}";

/// The rendered text up to the end of the last message.
///
/// # Errors
/// If the place is not found once.
pub(super) fn cut(mut text: String, given: &Conversation) -> Result<String, TemplateError> {
    let is_taken = given.messages.iter().any(|m| m.role.contains(TAG) || m.content.contains(TAG));
    let mut places = text.match_indices(TAG).map(|(at, _)| at);
    match (places.next(), places.next()) {
        (Some(place), None) if !is_taken => {
            text.truncate(place);
            Ok(text)
        }
        _ => Err(TemplateError::NotContinued),
    }
}
