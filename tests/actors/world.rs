//! A runtime around a fake engine, on the test's own thread.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::time::{Duration, Instant};

use engine_contract::{EngineInfo, Sampling};
use futures_core::Stream;
use runtime::{
    Config, Delta, Encoding, Ends, Failure, FinishReason, Generate, Generation, Handle, Prompt,
    Runtime, Shown, Status, Terms, Usage, Worker,
};
use tests::bytes;
use tests::fake::{Fake, Speech, info};

/// Longest that a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) fake: Fake,
    pub(crate) handle: Handle,
    pub(crate) worker: Worker,
}

/// What a test may want otherwise.
pub(crate) struct Options {
    pub(crate) config: Config,
    pub(crate) info: EngineInfo,
}

/// What came out of a generation.
#[derive(Debug, PartialEq)]
pub(crate) struct Heard {
    pub(crate) text: String,
    pub(crate) num_tokens: u32,
    pub(crate) num_deltas: usize,
    pub(crate) end: Delta,
}

/// Runs a test in a runtime that serves, and checks that nothing is left behind.
pub(crate) fn run(speech: Speech, test: impl AsyncFnOnce(&World)) {
    run_with(|_| {}, speech, test);
}

/// The same with other options.
pub(crate) fn run_with(
    change: impl FnOnce(&mut Options),
    speech: Speech,
    test: impl AsyncFnOnce(&World),
) {
    let mut options = Options { config: Config::default(), info: info() };
    change(&mut options);
    actix_rt::System::new().block_on(async {
        let fake = Fake::with_info(options.info, speech);
        let world = World::start(options.config, fake);
        world.reaches(Status::Serving).await;
        test(&world).await;
        world.stop().await;
    });
}

impl World {
    pub(crate) fn start(config: Config, fake: Fake) -> Self {
        config.validate().unwrap();
        let handle = Runtime::start(config, bytes::model("bytes"), fake.factory());
        Self { fake, worker: handle.worker(), handle }
    }

    pub(crate) async fn stop(&self) {
        self.fake.release();
        self.handle.stop_now();
        self.reaches(Status::Stopped).await;
    }

    pub(crate) async fn reaches(&self, status: Status) {
        until(&format!("{status:?}"), || self.handle.status() == status).await;
    }

    /// Continues a text.
    pub(crate) async fn say(&self, text: &str) -> Generation {
        self.worker.generate(ask(text)).await.unwrap()
    }

    /// Waits until nothing is open, and checks that everything came home.
    pub(crate) async fn is_quiet(&self) {
        let quiet = || {
            let now = self.handle.snapshot();
            now.running == 0 && now.waiting == 0 && now.in_flight == 0
        };
        until("quiet", quiet).await;
        let now = self.handle.snapshot();
        assert_eq!((now.blocks_used, now.waiting_tokens), (0, 0), "{now:?}");
        self.shows("streams_open{model=\"bytes\"} 0").await;
        self.shows("streams_without_terminal_total{model=\"bytes\"} 0").await;
    }

    /// Waits until the metrics have this line.
    pub(crate) async fn shows(&self, line: &str) {
        let line = format!("antiphon_{line}");
        let telemetry = self.handle.telemetry();
        until(&line, || telemetry.encode().lines().any(|shown| shown == line)).await;
    }
}

/// Yields until a condition is met.
pub(crate) async fn until(what: &str, is_met: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_met() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::task::yield_now().await;
    }
}

/// Polls a future once.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|cx| std::task::Poll::Ready(Pin::new(&mut *future).poll(cx).is_ready())).await
}

/// A greedy request for as much text as there is.
pub(crate) fn ask(text: &str) -> Generate {
    Generate {
        prompt: Prompt::Text(text.to_owned()),
        sampling: Sampling::GREEDY,
        max_tokens: None,
        min_tokens: 0,
        encoding: Encoding::default(),
        stop: Vec::new(),
        stop_tokens: Vec::new(),
        ends: Ends::Heed,
        shown: Shown::default(),
        terms: Terms::default(),
    }
}

pub(crate) async fn next(generation: &mut Generation) -> Option<Delta> {
    poll_fn(|cx| Pin::new(&mut *generation).poll_next(cx)).await
}

/// Listens to the end, and past it.
pub(crate) async fn listen(mut generation: Generation) -> Heard {
    let (mut text, mut num_tokens, mut num_deltas) = (String::new(), 0, 0);
    loop {
        match next(&mut generation).await.expect("there is an end") {
            Delta::Text { text: more, num_tokens: count, .. } => {
                text += &more;
                num_tokens += count;
                num_deltas += 1;
            }
            end @ (Delta::End { .. } | Delta::Failed(_)) => {
                assert_eq!(next(&mut generation).await, None, "nothing follows the end");
                return Heard { text, num_tokens, num_deltas, end };
            }
        }
    }
}

pub(crate) fn end(finish: FinishReason, prompt: u32, output: u32) -> Delta {
    Delta::End { finish, usage: Usage { prompt, cached: 0, output } }
}

pub(crate) fn failed(failure: Failure) -> Delta {
    Delta::Failed(failure)
}
