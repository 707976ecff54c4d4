//! The pipe from a session to the response body of its request.
//!
//! Both ends live on one thread, so there is no lock and no channel. Text that the reader has not
//! taken yet is merged, so a slow reader costs no more memory than its own output, and no more than
//! [`BYTES_MAX`] beside what one step brings, because its session ends it there. The writer never
//! waits. The last delta is `End` or `Failed`, always: an [`Inlet`] dropped before it said
//! one says `Failed` for itself.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use engine_contract::TokenId;
use futures_core::Stream;
use runtime_core::Tick;

use crate::{Delta, Failure, TokenLogprobs};

/// Most bytes that may lie untaken. As text it is more than any context holds by far; it is
/// log-probabilities, a thousand bytes for each token, that get there.
const BYTES_MAX: usize = 1 << 20;

/// Makes both ends of an empty pipe.
pub(crate) fn outbox() -> (Inlet, Outlet) {
    let pipe = Rc::new(RefCell::new(Pipe::default()));
    (Inlet { pipe: Rc::clone(&pipe) }, Outlet { pipe })
}

/// The writing end.
pub(crate) struct Inlet {
    pipe: Rc<RefCell<Pipe>>,
}

/// The reading end.
pub(crate) struct Outlet {
    pipe: Rc<RefCell<Pipe>>,
}

#[derive(Default)]
struct Pipe {
    text: String,
    num_tokens: u32,
    logprobs: Vec<TokenLogprobs>,
    tokens: Vec<TokenId>,
    /// What the log-probabilities take, about.
    logprob_bytes: usize,
    terminal: Terminal,
    /// Since when something takeable lies here untaken.
    untaken_since: Option<Tick>,
    reader: Option<Waker>,
}

/// The one delta that ends the pipe.
#[derive(Default)]
enum Terminal {
    /// Not written yet.
    #[default]
    Owed,
    /// Written, not taken.
    Written(Delta),
    /// Taken; nothing follows.
    Taken,
}

impl Inlet {
    /// Adds text that came from `num_tokens` tokens. Empty text waits for more, and wakes nobody.
    pub(crate) fn push(
        &self,
        text: &str,
        num_tokens: u32,
        logprobs: impl IntoIterator<Item = TokenLogprobs>,
        tokens: &[TokenId],
        now: Tick,
    ) {
        let mut pipe = self.pipe.borrow_mut();
        assert!(matches!(pipe.terminal, Terminal::Owed), "nothing follows the end");
        pipe.text.push_str(text);
        pipe.num_tokens += num_tokens;
        pipe.tokens.extend_from_slice(tokens);
        for token in logprobs {
            pipe.logprob_bytes += bytes_of(&token);
            pipe.logprobs.push(token);
        }
        if !text.is_empty() {
            pipe.wake(now);
        }
    }

    /// Ends the pipe with `End` or `Failed`. A second end is ignored.
    pub(crate) fn end(&self, delta: Delta, now: Tick) {
        let mut pipe = self.pipe.borrow_mut();
        if matches!(pipe.terminal, Terminal::Owed) {
            pipe.terminal = Terminal::Written(delta);
            pipe.wake(now);
        }
    }

    /// Whether the reader has left so much untaken that there may be no more.
    pub(crate) fn is_full(&self) -> bool {
        let pipe = self.pipe.borrow();
        pipe.text.len() + pipe.logprob_bytes + size_of_val(pipe.tokens.as_slice()) > BYTES_MAX
    }

    /// Since when the reader has left something untaken.
    pub(crate) fn untaken_since(&self) -> Option<Tick> {
        self.pipe.borrow().untaken_since
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.end(Delta::Failed(Failure::Engine), Tick::default());
    }
}

impl Stream for Outlet {
    type Item = Delta;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delta>> {
        let mut pipe = self.pipe.borrow_mut();
        if let Some(delta) = pipe.take() {
            return Poll::Ready(Some(delta));
        }
        if matches!(pipe.terminal, Terminal::Taken) {
            return Poll::Ready(None);
        }
        match &mut pipe.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Pipe {
    fn take(&mut self) -> Option<Delta> {
        let owed = matches!(self.terminal, Terminal::Owed);
        // Tokens without text are said before the end, so that counts add up.
        if !self.text.is_empty() || (!owed && (self.num_tokens > 0 || !self.tokens.is_empty())) {
            self.untaken_since = if owed { None } else { self.untaken_since };
            let text = std::mem::take(&mut self.text);
            let num_tokens = std::mem::take(&mut self.num_tokens);
            let logprobs = std::mem::take(&mut self.logprobs);
            let tokens = std::mem::take(&mut self.tokens);
            self.logprob_bytes = 0;
            return Some(Delta::Text { text, num_tokens, logprobs, tokens });
        }
        if owed || matches!(self.terminal, Terminal::Taken) {
            return None;
        }
        self.untaken_since = None;
        match std::mem::replace(&mut self.terminal, Terminal::Taken) {
            Terminal::Written(delta) => Some(delta),
            Terminal::Owed | Terminal::Taken => None,
        }
    }

    fn wake(&mut self, now: Tick) {
        self.untaken_since.get_or_insert(now);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

fn bytes_of(token: &TokenLogprobs) -> usize {
    let named = std::iter::once(&token.drawn).chain(&token.top);
    named.map(|named| size_of_val(named) + named.name.len()).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::{FinishReason, NamedLogprob, Usage};

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll(outlet: &mut Outlet, wakes: &Arc<Count>) -> Poll<Option<Delta>> {
        let waker = Arc::clone(wakes).into();
        Pin::new(outlet).poll_next(&mut Context::from_waker(&waker))
    }

    fn text(text: &str, num_tokens: u32) -> Poll<Option<Delta>> {
        let (logprobs, tokens) = (Vec::new(), Vec::new());
        Poll::Ready(Some(Delta::Text { text: text.to_owned(), num_tokens, logprobs, tokens }))
    }

    const END: Delta =
        Delta::End { finish: FinishReason::Stop, usage: Usage { prompt: 1, cached: 0, output: 3 } };

    #[test]
    fn untaken_text_merges_and_counts_stay_exact() {
        let wakes = Arc::new(Count(AtomicUsize::new(0)));
        let (inlet, mut outlet) = outbox();
        assert_eq!(poll(&mut outlet, &wakes), Poll::Pending);
        inlet.push("a", 1, None, &[], Tick(10));
        inlet.push("", 1, None, &[], Tick(11));
        inlet.push("bc", 2, None, &[], Tick(12));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "one wake for all of it");
        assert_eq!(inlet.untaken_since(), Some(Tick(10)));
        assert_eq!(poll(&mut outlet, &wakes), text("abc", 4));
        assert_eq!(inlet.untaken_since(), None);
        assert_eq!(poll(&mut outlet, &wakes), Poll::Pending);
    }

    #[test]
    fn what_lies_untaken_has_a_bound() {
        let (inlet, mut outlet) = outbox();
        inlet.push(&"x".repeat(BYTES_MAX), 1, None, &[], Tick(1));
        assert!(!inlet.is_full());
        let named = NamedLogprob { name: vec![b'x'], logprob: -1.0 };
        let token = TokenLogprobs { drawn: named.clone(), top: vec![named; 20] };
        inlet.push("", 1, [token.clone()], &[], Tick(1));
        assert!(inlet.is_full());
        let wakes = Arc::new(Count(AtomicUsize::new(0)));
        assert!(poll(&mut outlet, &wakes).is_ready());
        assert!(!inlet.is_full(), "it was taken");
        for _ in 0..BYTES_MAX / bytes_of(&token) {
            inlet.push("x", 1, [token.clone()], &[], Tick(1));
        }
        assert!(inlet.is_full());
    }

    #[test]
    fn tokens_without_text_are_said_before_the_end() {
        let wakes = Arc::new(Count(AtomicUsize::new(0)));
        let (inlet, mut outlet) = outbox();
        inlet.push("", 2, None, &[], Tick(1));
        assert_eq!(poll(&mut outlet, &wakes), Poll::Pending, "nothing to show yet");
        inlet.end(END, Tick(2));
        inlet.end(Delta::Failed(Failure::Engine), Tick(3));
        assert_eq!(poll(&mut outlet, &wakes), text("", 2));
        assert_eq!(inlet.untaken_since(), Some(Tick(2)));
        assert_eq!(poll(&mut outlet, &wakes), Poll::Ready(Some(END)), "the first end counts");
        assert_eq!(inlet.untaken_since(), None);
        assert_eq!(poll(&mut outlet, &wakes), Poll::Ready(None));
        assert_eq!(poll(&mut outlet, &wakes), Poll::Ready(None));
    }

    #[test]
    fn an_inlet_that_vanishes_still_ends_the_pipe() {
        let wakes = Arc::new(Count(AtomicUsize::new(0)));
        let (inlet, mut outlet) = outbox();
        inlet.push("a", 1, None, &[], Tick(1));
        drop(inlet);
        assert_eq!(poll(&mut outlet, &wakes), text("a", 1));
        let failed = Poll::Ready(Some(Delta::Failed(Failure::Engine)));
        assert_eq!(poll(&mut outlet, &wakes), failed);
        assert_eq!(poll(&mut outlet, &wakes), Poll::Ready(None));
    }
}
