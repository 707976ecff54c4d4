//! How tokens are drawn, as a client says it.

use engine_contract::{BIASES_MAX, Bias, Sampling, TokenId};

use super::ApiError;
use super::fields::Fields;

/// OpenAI has no such field; others have it without a limit, and nobody uses more than 2.
const REPETITION_PENALTY_MAX: f64 = 100.0;
/// OpenAI's, either way.
const BIAS_MAX: f64 = 100.0;

/// Reads how tokens are drawn; `defaults` say it where no field does.
///
/// # Errors
/// The first field of a wrong type or value.
pub(crate) fn read(fields: &mut Fields, defaults: &Sampling) -> Result<Sampling, ApiError> {
    Ok(Sampling {
        temperature: read_number(fields, "temperature", 2.0)?.unwrap_or(defaults.temperature),
        top_k: read_top_k(fields)?.unwrap_or(defaults.top_k),
        top_p: read_positive(fields, "top_p", 1.0)?.unwrap_or(defaults.top_p),
        min_p: read_number(fields, "min_p", 1.0)?.unwrap_or(defaults.min_p),
        seed: match fields.optional("seed") {
            Some(field) => field.bits()?,
            None => fastrand::u64(..),
        },
        repetition_penalty: read_positive(fields, "repetition_penalty", REPETITION_PENALTY_MAX)?
            .unwrap_or(defaults.repetition_penalty),
        frequency_penalty: read_penalty(fields, "frequency_penalty")?
            .unwrap_or(defaults.frequency_penalty),
        presence_penalty: read_penalty(fields, "presence_penalty")?
            .unwrap_or(defaults.presence_penalty),
        biases: read_biases(fields)?,
        logprobs: None,
    })
}

/// A number from 0 to `max`, in the precision that the sampler computes in.
fn read_number(fields: &mut Fields, name: &str, max: f64) -> Result<Option<f32>, ApiError> {
    fields.optional(name).map(|field| field.number(0.0, max).map(|n| n as f32)).transpose()
}

/// A number above 0, up to `max`.
fn read_positive(fields: &mut Fields, name: &str, max: f64) -> Result<Option<f32>, ApiError> {
    let Some(field) = fields.optional(name) else { return Ok(None) };
    let number = field.number(0.0, max)?;
    if number == 0.0 {
        return Err(field.outside(&format!("more than 0, and at most {max}")));
    }
    // What is too small for single precision is still above 0.
    Ok(Some((number as f32).max(f32::MIN_POSITIVE)))
}

/// As OpenAI has them.
fn read_penalty(fields: &mut Fields, name: &str) -> Result<Option<f32>, ApiError> {
    fields.optional(name).map(|field| field.number(-2.0, 2.0).map(|n| n as f32)).transpose()
}

/// From tokens' ids, which are names in JSON, to what is added to their logits; by ascending token.
fn read_biases(fields: &mut Fields) -> Result<Vec<Bias>, ApiError> {
    let Some(field) = fields.optional("logit_bias") else { return Ok(Vec::new()) };
    let too_many = field.outside(&format!("at most {BIASES_MAX} tokens"));
    let mut biases = Vec::new();
    for (name, field) in field.object()?.into_named() {
        // One name for each token, so that none has two biases.
        let id = name.parse::<u32>().ok().filter(|id| id.to_string() == name);
        let token = TokenId(id.ok_or_else(|| field.outside("named by a token's id"))?);
        biases.push(Bias { token, bias: field.number(-BIAS_MAX, BIAS_MAX)? as f32 });
    }
    if biases.len() > BIASES_MAX {
        return Err(too_many);
    }
    biases.sort_unstable_by_key(|bias| bias.token);
    Ok(biases)
}

/// # Errors
/// The first biased token outside the vocabulary, if that is known.
pub(crate) fn check_biases(sampling: &Sampling, vocab: Option<u32>) -> Result<(), ApiError> {
    let Some(vocab) = vocab else { return Ok(()) };
    match sampling.biases.iter().find(|bias| bias.token.0 >= vocab) {
        Some(bias) => {
            let expected = format_args!("a token of the vocabulary, below {vocab}");
            Err(ApiError::invalid_value(&format!("logit_bias.{}", bias.token), expected))
        }
        None => Ok(()),
    }
}

/// 0 and -1 both mean all tokens; clients of either habit exist.
fn read_top_k(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    let Some(field) = fields.optional("top_k") else { return Ok(None) };
    let top_k = field.integer(-1, i64::from(u32::MAX))?;
    Ok(Some(u32::try_from(top_k).unwrap_or(0)))
}
