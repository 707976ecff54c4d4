//! Where prompts end and tokens begin, and the other way round, as a client says it.

use engine_contract::TokenId;
use runtime::{Encoding, Kept, Shown};

use super::ApiError;
use super::fields::Fields;

/// Reads how the prompt becomes tokens.
///
/// # Errors
/// The first field of a wrong type or value.
pub(crate) fn read_encoding(fields: &mut Fields) -> Result<Encoding, ApiError> {
    let begins = read_flag(fields, "add_special_tokens")?.unwrap_or(true);
    let Some(field) = fields.optional("truncate_prompt_tokens") else {
        return Ok(Encoding { begins, kept: Kept::All });
    };
    let kept = match field.integer(-1, i64::from(u32::MAX))? {
        -1 => Kept::Fitting,
        0 => return Err(field.outside("at least 1 token, or -1 for as many as fit")),
        some => Kept::Last(u32::try_from(some).expect("within the range asked for")),
    };
    Ok(Encoding { begins, kept })
}

/// Reads what of the output is shown.
///
/// # Errors
/// The first field of a wrong type.
pub(crate) fn read_shown(fields: &mut Fields) -> Result<Shown, ApiError> {
    Ok(Shown {
        stop: read_flag(fields, "include_stop_str_in_output")?.unwrap_or(false),
        control: !read_flag(fields, "skip_special_tokens")?.unwrap_or(true),
        ids: read_flag(fields, "return_tokens_as_token_ids")?.unwrap_or(false),
        tokens: read_flag(fields, "return_token_ids")?.unwrap_or(false),
    })
}

/// Tokens as JSON.
pub(crate) fn list(tokens: &[TokenId]) -> String {
    let ids: Vec<String> = tokens.iter().map(TokenId::to_string).collect();
    format!("[{}]", ids.join(","))
}

fn read_flag(fields: &mut Fields, name: &str) -> Result<Option<bool>, ApiError> {
    fields.optional(name).map(|field| field.flag()).transpose()
}
