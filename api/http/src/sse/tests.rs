//! The bytes of streams, and what dropping one does.

use actix_web::body::{self, MessageBody};
use actix_web::web::Bytes;
use expect_test::{Expect, expect};
use runtime::{FinishReason, Usage};

use super::*;
use crate::access::Outcome;
use crate::openai::{ChatWire, CompletionWire, UsageChunk};

/// Says the given deltas, then says nothing more, for ever.
struct Script {
    deltas: VecDeque<Delta>,
    alive: Rc<()>,
}

impl Stream for Script {
    type Item = Delta;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Delta>> {
        match self.deltas.pop_front() {
            Some(delta) => Poll::Ready(Some(delta)),
            None => Poll::Pending,
        }
    }
}

fn script(deltas: impl IntoIterator<Item = Delta>) -> Script {
    Script { deltas: deltas.into_iter().collect(), alive: Rc::new(()) }
}

fn text(text: &str) -> Delta {
    let (logprobs, tokens) = (Vec::new(), Vec::new());
    Delta::Text { text: text.to_owned(), num_tokens: 1, logprobs, tokens }
}

const END: Delta =
    Delta::End { finish: FinishReason::Length, usage: Usage { prompt: 5, cached: 4, output: 3 } };

fn respond_to<W: Wire>(script: Script, usage: UsageChunk) -> (HttpResponse, Rc<Access>) {
    let access = Access::detached();
    let frame = Frame::of_chunks::<W>("org/\"tiny\"", usage, None);
    (respond::<W>(script, frame, Rc::clone(&access), 15_000), access)
}

/// The whole body, with what differs from run to run replaced.
async fn transcript<W: Wire>(deltas: &[Delta], usage: UsageChunk) -> (String, Outcome) {
    let (response, access) = respond_to::<W>(script(deltas.iter().cloned()), usage);
    let bytes = body::to_bytes(response.into_body()).await.unwrap();
    (normalise(std::str::from_utf8(&bytes).unwrap()), access.outcome())
}

fn normalise(transcript: &str) -> String {
    let cut = |line: &str| {
        let Some((_, after)) = line.split_once("\"model\"") else { return line.to_owned() };
        assert!(line.starts_with("data: {\"id\":\"c"), "{line}");
        assert!(line.contains("\",\"created\":1"), "{line}");
        format!("data: {{…\"model\"{after}")
    };
    transcript.lines().map(cut).collect::<Vec<_>>().join("\n")
}

fn check((transcript, outcome): (String, Outcome), expected_outcome: Outcome, expected: Expect) {
    expected.assert_eq(&transcript);
    assert_eq!(outcome, expected_outcome);
}

#[actix_web::test]
async fn a_chat_opens_speaks_finishes_and_counts() {
    let deltas = [text("Hel"), text(""), text("lo\n\"é\u{2028}"), END];
    let transcript = transcript::<ChatWire>(&deltas, UsageChunk::Last).await;
    check(
        transcript,
        Outcome::Length,
        expect![[r#"
            data: {…"model":"org/\"tiny\"","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}

            data: {…"model":"org/\"tiny\"","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"content":"Hel"},"logprobs":null,"finish_reason":null}],"usage":null}

            data: {…"model":"org/\"tiny\"","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"content":"lo\n\"é\u2028"},"logprobs":null,"finish_reason":null}],"usage":null}

            data: {…"model":"org/\"tiny\"","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}],"usage":null}

            data: {…"model":"org/\"tiny\"","system_fingerprint":"antiphon-0.1.0","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8,"prompt_tokens_details":{"cached_tokens":4}}}

            data: [DONE]
        "#]],
    );
}

#[actix_web::test]
async fn a_completion_has_no_opening_and_no_usage_unless_asked() {
    let transcript = transcript::<CompletionWire>(&[text("a"), END], UsageChunk::Absent).await;
    check(
        transcript,
        Outcome::Length,
        expect![[r#"
        data: {…"model":"org/\"tiny\"","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"a","index":0,"logprobs":null,"finish_reason":null}]}

        data: {…"model":"org/\"tiny\"","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"","index":0,"logprobs":null,"finish_reason":"length"}]}

        data: [DONE]
    "#]],
    );
}

#[actix_web::test]
async fn an_output_of_nothing_still_opens_and_finishes() {
    let transcript = transcript::<ChatWire>(&[END], UsageChunk::Absent).await;
    check(
        transcript,
        Outcome::Length,
        expect![[r#"
        data: {…"model":"org/\"tiny\"","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}

        data: {…"model":"org/\"tiny\"","system_fingerprint":"antiphon-0.1.0","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}]}

        data: [DONE]
    "#]],
    );
}

#[actix_web::test]
async fn a_failure_is_one_event_and_the_end() {
    let deltas = [text("a"), Delta::Failed(Failure::Engine)];
    let transcript = transcript::<CompletionWire>(&deltas, UsageChunk::Last).await;
    check(
        transcript,
        Outcome::Failed,
        expect![[r#"
        data: {…"model":"org/\"tiny\"","system_fingerprint":"antiphon-0.1.0","choices":[{"text":"a","index":0,"logprobs":null,"finish_reason":null}],"usage":null}

        data: {"error":{"message":"the engine failed before the output was complete","type":"server_error","param":null,"code":"engine_failed"}}
    "#]],
    );
}

#[actix_web::test]
async fn dropping_the_body_drops_the_deltas_at_once() {
    let script = script([text("a")]);
    let alive = Rc::downgrade(&script.alive);
    let (response, access) = respond_to::<ChatWire>(script, UsageChunk::Absent);
    let mut body = response.into_body();
    assert!(next(&mut body).await.is_some());
    assert_eq!(alive.strong_count(), 1);
    drop(body);
    assert_eq!(alive.strong_count(), 0);
    assert_eq!(access.outcome(), Outcome::Disconnected);
}

#[actix_web::test]
async fn silence_is_broken_by_comments_and_only_by_them() {
    tokio::time::pause();
    let (response, _) = respond_to::<CompletionWire>(script([text("a")]), UsageChunk::Absent);
    let mut body = response.into_body();
    let begun = Instant::now();
    assert!(next(&mut body).await.unwrap().starts_with(b"data: "));
    assert_eq!(begun.elapsed(), Duration::ZERO, "no comment before its time");
    for count in 1..=3 {
        assert_eq!(next(&mut body).await.unwrap(), ": keep-alive\n\n");
        let elapsed = begun.elapsed().as_millis();
        assert!((count * 15_000..count * 15_000 + 10).contains(&elapsed), "{count}: {elapsed}");
    }
}

async fn next(body: &mut body::BoxBody) -> Option<Bytes> {
    std::future::poll_fn(|cx| Pin::new(&mut *body).poll_next(cx)).await.map(Result::unwrap)
}
