//! A whole output: the fold of the same stream that chunks are made of.

use std::future::poll_fn;
use std::pin::Pin;

use engine_contract::TokenId;
use futures_core::Stream;
use runtime::{Delta, Failure, FinishReason, TokenLogprobs, Usage};

use crate::access::Access;
use crate::openai::finish;

/// A complete output.
#[derive(Debug, PartialEq)]
pub(crate) struct Output {
    pub(crate) text: String,
    pub(crate) logprobs: Vec<TokenLogprobs>,
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) finish: FinishReason,
    pub(crate) usage: Usage,
}

/// Hears a generation out.
///
/// # Cancel safety
/// Dropping the future drops the generation, which cancels it.
///
/// # Errors
/// The output ended without being complete.
pub(crate) async fn fold(
    mut deltas: impl Stream<Item = Delta> + Unpin,
    access: &Access,
) -> Result<Output, Failure> {
    let (mut text, mut logprobs, mut tokens) = (String::new(), Vec::new(), Vec::new());
    loop {
        match poll_fn(|cx| Pin::new(&mut deltas).poll_next(cx)).await {
            Some(Delta::Text { text: more, num_tokens, logprobs: more_logprobs, tokens: told }) => {
                access.heard(num_tokens);
                text.push_str(&more);
                logprobs.extend(more_logprobs);
                tokens.extend(told);
            }
            Some(Delta::End { finish, usage }) => {
                access.finished(finish::outcome(finish), usage.output);
                return Ok(Output { text, logprobs, tokens, finish, usage });
            }
            Some(Delta::Failed(failure)) => {
                access.failed();
                return Err(failure);
            }
            // A stream that ends without an end has lost its session.
            None => {
                access.failed();
                return Err(Failure::Engine);
            }
        }
    }
}
