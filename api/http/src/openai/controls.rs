//! The fields that both endpoints share: how tokens are drawn, when the output ends, how it is
//! sent.

use engine_contract::{Sampling, TokenId};
use runtime::{Encoding, Ends, Generate, Prompt, Shown, Terms};
use serde_json::Value;

use super::fields::{Field, Fields};
use super::urgency::Urgency;
use super::{ApiError, Ignored, sampling, tokens};

const STOP_STRINGS_MAX: usize = 16;
const STOP_STRING_BYTES_MAX: usize = 1 << 10;
const STOP_TOKENS_MAX: usize = 128;

/// Fields that both endpoints share, read and checked.
#[derive(Debug, PartialEq)]
pub(crate) struct Controls {
    pub(crate) delivery: Delivery,
    sampling: Sampling,
    max_tokens: Option<u32>,
    min_tokens: u32,
    stop: Vec<String>,
    stop_tokens: Vec<TokenId>,
    ends: Ends,
    encoding: Encoding,
    shown: Shown,
    urgency: Urgency,
}

/// How the output is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// At once, when it is complete.
    Whole,
    /// As it comes.
    Stream(UsageChunk),
}

/// Whether a stream ends with a chunk of usage (`stream_options.include_usage`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UsageChunk {
    Absent,
    Last,
}

impl Controls {
    /// Reads the shared fields. `max_tokens` are the names of that field, the current one first,
    /// and `unlimited` is what holds without it; `defaults` is how tokens are drawn where no field
    /// says it.
    ///
    /// # Errors
    /// The first field of a wrong type or value.
    pub(crate) fn read(
        fields: &mut Fields,
        max_tokens: &[&str],
        unlimited: Option<u32>,
        defaults: &Sampling,
        ignored: &mut Ignored,
    ) -> Result<Self, ApiError> {
        check_unused(fields)?;
        let max_tokens = read_max_tokens(fields, max_tokens)?.or(unlimited);
        Ok(Self {
            delivery: read_delivery(fields, ignored)?,
            sampling: sampling::read(fields, defaults)?,
            max_tokens,
            min_tokens: read_min_tokens(fields, max_tokens)?,
            stop: fields.optional("stop").map(read_stop).transpose()?.unwrap_or_default(),
            stop_tokens: read_stop_tokens(fields)?,
            ends: match fields.optional("ignore_eos").map(|field| field.flag()).transpose()? {
                Some(true) => Ends::Ignore,
                Some(false) | None => Ends::Heed,
            },
            encoding: tokens::read_encoding(fields)?,
            shown: tokens::read_shown(fields)?,
            urgency: Urgency::read(fields)?,
        })
    }

    /// The same, and log-probabilities with so many alternatives, if any are asked for.
    pub(crate) fn with_logprobs(mut self, logprobs: Option<u32>) -> Self {
        self.sampling.logprobs = logprobs;
        self
    }

    /// What the runtime is asked for.
    ///
    /// # Errors
    /// A stop token, or a biased one, outside the vocabulary of `vocab` tokens, if that is known.
    pub(crate) fn with_prompt(
        self,
        prompt: Prompt,
        vocab: Option<u32>,
    ) -> Result<Generate, ApiError> {
        let ids = self.stop_tokens.iter().map(|token| token.0);
        check_vocabulary("stop_token_ids", ids, vocab)?;
        sampling::check_biases(&self.sampling, vocab)?;
        let Urgency { priority, timeouts } = self.urgency;
        Ok(Generate {
            prompt,
            encoding: self.encoding,
            sampling: self.sampling,
            max_tokens: self.max_tokens,
            min_tokens: self.min_tokens,
            stop: self.stop,
            stop_tokens: self.stop_tokens,
            ends: self.ends,
            shown: self.shown,
            terms: Terms { priority, timeouts, ..Terms::default() },
        })
    }
}

/// # Errors
/// The first token outside the vocabulary, by its place in the list at `path`.
pub(crate) fn check_vocabulary(
    path: &str,
    mut tokens: impl Iterator<Item = u32>,
    vocab: Option<u32>,
) -> Result<(), ApiError> {
    let Some(vocab) = vocab else { return Ok(()) };
    match tokens.position(|token| token >= vocab) {
        Some(index) => {
            let expected = format_args!("a token of the vocabulary, below {vocab}");
            Err(ApiError::invalid_value(&format!("{path}[{index}]"), expected))
        }
        None => Ok(()),
    }
}

/// Fields that change nothing here, and are checked all the same.
fn check_unused(fields: &mut Fields) -> Result<(), ApiError> {
    fields.optional("user").map(Field::text).transpose()?;
    fields.optional("metadata").map(Field::object).transpose()?;
    match fields.optional("n") {
        Some(n) if n.integer(1, i64::from(u32::MAX))? != 1 => Err(ApiError::unsupported(n.path())),
        Some(_) | None => Ok(()),
    }
}

fn read_max_tokens(fields: &mut Fields, names: &[&str]) -> Result<Option<u32>, ApiError> {
    let mut chosen = None;
    for name in names {
        let Some(field) = fields.optional(name) else { continue };
        let given = field.count(1)?;
        if chosen.is_some_and(|before| before != given) {
            return Err(field.outside(&format!("the same as `{}`, or left out", names[0])));
        }
        chosen = Some(given);
    }
    Ok(chosen)
}

fn read_min_tokens(fields: &mut Fields, max_tokens: Option<u32>) -> Result<u32, ApiError> {
    let Some(field) = fields.optional("min_tokens") else { return Ok(0) };
    let min_tokens = field.count(0)?;
    match max_tokens {
        Some(max) if min_tokens > max => Err(field.outside(&format!("at most {max} tokens"))),
        Some(_) | None => Ok(min_tokens),
    }
}

fn read_delivery(fields: &mut Fields, ignored: &mut Ignored) -> Result<Delivery, ApiError> {
    let stream = fields.optional("stream").map(|field| field.flag()).transpose()?;
    let options = fields.optional("stream_options");
    if stream != Some(true) {
        return match options {
            Some(field) => Err(field.outside("left out unless `stream` is true")),
            None => Ok(Delivery::Whole),
        };
    }
    let Some(options) = options else { return Ok(Delivery::Stream(UsageChunk::Absent)) };
    let mut options = options.object()?;
    let include = options.optional("include_usage").map(|field| field.flag()).transpose()?;
    options.ignore_rest(ignored);
    Ok(Delivery::Stream(if include == Some(true) { UsageChunk::Last } else { UsageChunk::Absent }))
}

fn read_stop(field: Field) -> Result<Vec<String>, ApiError> {
    let strings = match field.value() {
        Value::String(_) => vec![field],
        Value::Array(_) => field.list(STOP_STRINGS_MAX)?,
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::Object(_) => {
            return Err(field.not("a string or a list of strings"));
        }
    };
    strings.into_iter().map(read_stop_string).collect()
}

fn read_stop_string(field: Field) -> Result<String, ApiError> {
    let expected = format!("1 to {STOP_STRING_BYTES_MAX} bytes long");
    let refusal = field.outside(&expected);
    let text = field.text()?;
    if (1..=STOP_STRING_BYTES_MAX).contains(&text.len()) { Ok(text) } else { Err(refusal) }
}

fn read_stop_tokens(fields: &mut Fields) -> Result<Vec<TokenId>, ApiError> {
    let Some(field) = fields.optional("stop_token_ids") else { return Ok(Vec::new()) };
    let path = field.path().to_owned();
    let tokens = field.tokens()?;
    if tokens.len() > STOP_TOKENS_MAX {
        let expected = format!("a list of at most {STOP_TOKENS_MAX}, not {}", tokens.len());
        return Err(ApiError::invalid_value(&path, expected));
    }
    Ok(tokens.into_iter().map(TokenId).collect())
}

#[cfg(test)]
mod tests {
    use engine_contract::Bias;
    use runtime::Kept;
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<Controls, ApiError> {
        read_with(body, &Sampling::PLAIN)
    }

    fn read_with(body: Value, defaults: &Sampling) -> Result<Controls, ApiError> {
        let Value::Object(object) = body else { panic!("an object") };
        let (mut fields, mut ignored) = (Fields::new(object), Ignored::default());
        let names = ["max_completion_tokens", "max_tokens"];
        Controls::read(&mut fields, &names, None, defaults, &mut ignored)
    }

    fn refusal(body: Value) -> String {
        read(body).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_openais_and_null_is_absent() {
        let body = json!({"temperature": null, "stop": null, "n": null, "stream": null, "seed": 7});
        let controls = read(body).unwrap();
        let sampling = Sampling { seed: 7, ..Sampling::PLAIN };
        let expected = Controls {
            delivery: Delivery::Whole,
            sampling,
            max_tokens: None,
            min_tokens: 0,
            stop: Vec::new(),
            stop_tokens: Vec::new(),
            ends: Ends::Heed,
            encoding: Encoding::default(),
            shown: Shown::default(),
            urgency: Urgency::default(),
        };
        assert_eq!(controls, expected);
    }

    #[test]
    fn what_a_request_leaves_out_is_the_model_s_to_say() {
        let defaults = Sampling {
            temperature: 0.6,
            top_k: 20,
            top_p: 0.8,
            min_p: 0.1,
            seed: 1,
            ..Sampling::PLAIN
        };
        let sampling = |body| read_with(body, &defaults).unwrap().sampling;
        assert_eq!(sampling(json!({"seed": 7})), Sampling { seed: 7, ..defaults.clone() });
        let said = json!({"temperature": 0, "top_k": 0, "top_p": 1, "min_p": 0, "seed": 0});
        assert_eq!(sampling(said), Sampling::GREEDY);
    }

    #[test]
    fn every_field_is_honoured() {
        let controls = read(json!({
            "temperature": 0.5, "top_k": 40, "top_p": 0.9, "min_p": 0.05, "seed": -1,
            "max_tokens": 9, "min_tokens": 9, "stop": ["a", "b"], "stop_token_ids": [3],
            "ignore_eos": true, "stream": true, "stream_options": {"include_usage": true},
            "repetition_penalty": 1.5, "frequency_penalty": -2, "presence_penalty": 0.25,
            "logit_bias": {"10": 0.5, "9": -100, "3": null},
            "add_special_tokens": false, "truncate_prompt_tokens": 7,
            "include_stop_str_in_output": true, "skip_special_tokens": false,
            "return_tokens_as_token_ids": true, "return_token_ids": true,
        }));
        let bias = |token, bias| Bias { token: TokenId(token), bias };
        let sampling = Sampling {
            temperature: 0.5,
            top_k: 40,
            top_p: 0.9,
            min_p: 0.05,
            seed: u64::MAX,
            repetition_penalty: 1.5,
            frequency_penalty: -2.0,
            presence_penalty: 0.25,
            biases: vec![bias(9, -100.0), bias(10, 0.5)],
            logprobs: None,
        };
        let expected = Controls {
            delivery: Delivery::Stream(UsageChunk::Last),
            sampling,
            max_tokens: Some(9),
            min_tokens: 9,
            stop: vec!["a".to_owned(), "b".to_owned()],
            stop_tokens: vec![TokenId(3)],
            ends: Ends::Ignore,
            encoding: Encoding { begins: false, kept: Kept::Last(7) },
            shown: Shown { stop: true, control: true, ids: true, tokens: true },
            urgency: Urgency::default(),
        };
        assert_eq!(controls.unwrap(), expected);
        assert_eq!(read(json!({"stop": "x"})).unwrap().stop, ["x"]);
        assert_eq!(read(json!({"top_k": -1})).unwrap().sampling.top_k, 0);
        assert!(read(json!({"top_p": 1e-60})).unwrap().sampling.top_p > 0.0);
        let same = json!({"max_tokens": 5, "max_completion_tokens": 5});
        assert_eq!(read(same).unwrap().max_tokens, Some(5));
    }

    #[test]
    fn what_is_outside_is_named() {
        assert_eq!(refusal(json!({"top_p": 0})), "`top_p` must be more than 0, and at most 1");
        assert_eq!(refusal(json!({"temperature": 2.5})), "`temperature` must be 0 to 2");
        assert_eq!(
            refusal(json!({"max_tokens": 4, "max_completion_tokens": 5})),
            "`max_tokens` must be the same as `max_completion_tokens`, or left out"
        );
        assert_eq!(
            refusal(json!({"max_tokens": 4, "min_tokens": 5})),
            "`min_tokens` must be at most 4 tokens"
        );
        assert_eq!(refusal(json!({"stop": [""]})), "`stop[0]` must be 1 to 1024 bytes long");
        assert_eq!(
            refusal(json!({"stream_options": {}})),
            "`stream_options` must be left out unless `stream` is true"
        );
        assert_eq!(refusal(json!({"n": 2})), "`n` is not supported by this server; leave it out");
        assert_eq!(
            refusal(json!({"repetition_penalty": 0})),
            "`repetition_penalty` must be more than 0, and at most 100"
        );
        assert_eq!(refusal(json!({"presence_penalty": 2.1})), "`presence_penalty` must be -2 to 2");
        assert_eq!(
            refusal(json!({"logit_bias": {"07": 1}})),
            "`logit_bias.07` must be named by a token's id"
        );
        assert_eq!(
            refusal(json!({"logit_bias": {"7": 101}})),
            "`logit_bias.7` must be -100 to 100"
        );
        let stray = read(json!({"logit_bias": {"299": 1, "300": 1}})).unwrap();
        let error = stray.with_prompt(Prompt::Text(String::new()), Some(300)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`logit_bias.300` must be a token of the vocabulary, below 300"
        );
        let stray = read(json!({"stop_token_ids": [1, 300]})).unwrap();
        let error = stray.with_prompt(Prompt::Text(String::new()), Some(300)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`stop_token_ids[1]` must be a token of the vocabulary, below 300"
        );
    }
}
