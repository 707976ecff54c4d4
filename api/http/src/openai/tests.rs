//! Whole answers are the fold of the same deltas that streams are made of.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use expect_test::expect;
use futures_core::Stream;
use runtime::{Delta, Failure, FinishReason, Usage};

use super::fold::{Output, fold};
use super::frame::whole;
use super::{ChatWire, CompletionWire};
use crate::access::{Access, Outcome};

struct Deltas(VecDeque<Delta>);

impl Stream for Deltas {
    type Item = Delta;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Delta>> {
        Poll::Ready(self.0.pop_front())
    }
}

const USAGE: Usage = Usage { prompt: 5, cached: 0, output: 2 };
const END: Delta = Delta::End { finish: FinishReason::Stop, usage: USAGE };

fn text(text: &str) -> Delta {
    let (logprobs, tokens) = (Vec::new(), Vec::new());
    Delta::Text { text: text.to_owned(), num_tokens: 1, logprobs, tokens }
}

async fn hear(deltas: impl IntoIterator<Item = Delta>) -> (Result<Output, Failure>, Outcome) {
    let access = Access::detached();
    let output = fold(Deltas(deltas.into_iter().collect()), &access).await;
    (output, access.outcome())
}

#[actix_web::test]
async fn text_adds_up_to_the_end() {
    let (output, outcome) = hear([text("a"), text(""), text("b"), END]).await;
    let (text, finish, usage) = ("ab".to_owned(), FinishReason::Stop, USAGE);
    let expected = Output { text, logprobs: Vec::new(), tokens: Vec::new(), finish, usage };
    assert_eq!((output, outcome), (Ok(expected), Outcome::Stop));
}

#[actix_web::test]
async fn a_failure_and_a_missing_end_are_failures() {
    let failed = Delta::Failed(Failure::NotFinite);
    assert_eq!(hear([text("a"), failed]).await, (Err(Failure::NotFinite), Outcome::Failed));
    assert_eq!(hear([text("a")]).await, (Err(Failure::Engine), Outcome::Failed));
}

#[test]
fn whole_answers_have_openais_shape() {
    let (text, finish, usage) = ("a\"b".to_owned(), FinishReason::Stop, USAGE);
    let output = Output { text, logprobs: Vec::new(), tokens: Vec::new(), finish, usage };
    let shape = |answer: String| {
        let mut answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let id = answer["id"].take();
        assert!(answer["created"].take().is_u64());
        format!("{} {answer}", id.as_str().unwrap().split_once('-').unwrap().0)
    };
    expect![[r#"chatcmpl {"id":null,"object":"chat.completion","created":null,"model":"tiny","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"message":{"role":"assistant","content":"a\"b","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":0}}}"#]].assert_eq(&shape(whole::<ChatWire>("tiny", &output, None)));
    expect![[r#"cmpl {"id":null,"object":"text_completion","created":null,"model":"tiny","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"a\"b","index":0,"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":0}}}"#]].assert_eq(&shape(whole::<CompletionWire>("tiny", &output, None)));
}
