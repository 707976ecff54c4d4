//! A whole server on a port of its own, in this process, around a fake engine.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use api::{ReloadAnswer, Reloader};
use crossbeam_channel::{Receiver, Sender, bounded};
use engine_contract::EngineInfo;
use runtime::{ExecutorFactory, Handle, KeyHash, Runtime, Status, Tenancy, Tenant};
use tests::bytes::{self, CONTEXT};
use tests::fake::{self, Fake, Speech};

use crate::client::Client;

/// The served model's name.
pub(crate) const MODEL: &str = "fake";

/// The key of those who run the server, where it has tenants.
pub(crate) const ADMIN: &str = "sk-admin";

/// A tenant without limits, whose key is `sk-` and its name.
pub(crate) fn tenant(name: &str) -> Tenant {
    let key_hashes = vec![KeyHash::of(&format!("sk-{name}"))];
    Tenant { key_hashes, ..Tenant::unbounded(name) }
}

/// A table of tenants, and [`ADMIN`].
pub(crate) fn tenancy(tenants: impl IntoIterator<Item = Tenant>) -> Tenancy {
    let tenants = tenants.into_iter().collect();
    Tenancy { tenants, admin_key_hashes: vec![KeyHash::of(ADMIN)] }
}

/// Longest that a test waits for something to show before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) config: api::Config,
    pub(crate) handle: Handle,
    pub(crate) engine: Fake,
    /// Requests to reload, for the test to answer.
    pub(crate) reloads: tokio::sync::mpsc::Receiver<ReloadAnswer>,
    /// Dropped when the engine may be built.
    arrival: Option<Sender<()>>,
    server: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

/// What a test may want otherwise.
pub(crate) struct Options {
    pub(crate) http: api::Config,
    pub(crate) runtime: runtime::Config,
    pub(crate) tenancy: Tenancy,
    pub(crate) speech: Speech,
    pub(crate) context: u32,
    pub(crate) engine_comes_later: bool,
}

impl World {
    /// A server that serves.
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// A server with other options. It serves, unless its engine is to come later.
    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options {
            http: api::Config { port: 0, workers: 2, ..api::Config::default() },
            runtime: runtime::Config::default(),
            tenancy: Tenancy::default(),
            speech: fake::babbles(),
            context: CONTEXT,
            engine_comes_later: false,
        };
        change(&mut options);
        let config = options.http.clone();
        let engine = Fake::with_info(info(options.context), Arc::clone(&options.speech));
        let (arrival, arrives) = bounded(0);
        let arrival = options.engine_comes_later.then_some(arrival);
        let factory = after_arrival(engine.factory(), arrives);
        let (started, starts) = mpsc::channel();
        let (reloader, reloads) = Reloader::new();
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let mut model = bytes::model(MODEL);
                model.card.context = options.context;
                let handle = Runtime::start(options.runtime, model, factory);
                handle.set_tenancy(&options.tenancy).unwrap();
                let (server, addresses) =
                    api::bind(options.http, handle.clone(), reloader).unwrap();
                started.send((addresses[0], handle, server.handle())).unwrap();
                server.await.unwrap();
            });
        });
        let (address, handle, server) = starts.recv().unwrap();
        let thread = Some(thread);
        let world = Self { address, config, handle, engine, reloads, arrival, server, thread };
        if world.arrival.is_none() {
            world.wait_for(Status::Serving);
        }
        world
    }

    /// The engine that was to come later comes now.
    pub(crate) fn engine_comes(&mut self) {
        self.arrival = None;
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Waits for the runtime to be in this state.
    pub(crate) fn wait_for(&self, status: Status) {
        let mut watch = self.handle.watch();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let met = runtime.block_on(async {
            tokio::time::timeout(PATIENCE, watch.wait_for(|now| *now == status)).await.is_ok()
        });
        assert!(met, "waited in vain for {status:?}: {:?}", self.handle.status());
    }

    /// Waits until so many steps were launched, since the beginning.
    pub(crate) fn wait_for_steps(&self, num_steps: usize) {
        let launched = eventually(|| self.engine.num_steps() >= num_steps);
        assert!(launched, "waited in vain for {num_steps} steps: {}", self.engine.num_steps());
    }

    /// Rows of all steps launched so far.
    pub(crate) fn num_rows(&self) -> usize {
        self.engine.steps(0).iter().map(Vec::len).sum()
    }

    /// Sequences that any step has named.
    pub(crate) fn num_sequences(&self) -> usize {
        self.engine.steps(0).into_iter().flatten().collect::<HashSet<_>>().len()
    }

    /// Waits until `/metrics` has this line.
    pub(crate) fn shows(&self, line: &str) {
        let mut client = self.connect();
        let mut last = String::new();
        let shown = eventually(|| {
            last = scrape(&mut client);
            last.lines().any(|shown| shown == line)
        });
        assert!(shown, "waited in vain for {line} in {last}");
    }

    /// All of `/metrics`.
    pub(crate) fn metrics(&self) -> String {
        scrape(&mut self.connect())
    }

    /// What `/metrics` says of this series.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.metrics();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
    }

    /// Waits until nothing is open, and checks that nothing is left behind.
    pub(crate) fn is_quiet(&self) {
        let quiet = eventually(|| {
            let now = self.handle.snapshot();
            now.running == 0 && now.waiting == 0 && now.in_flight == 0
        });
        let snapshot = self.handle.snapshot();
        assert!(quiet, "waited in vain for quiet: {snapshot:?}");
        assert_eq!((snapshot.blocks_used, snapshot.waiting_tokens), (0, 0), "{snapshot:?}");
        for gauge in ["vllm:num_requests_running", "vllm:num_requests_waiting"] {
            self.shows(&format!(r#"{gauge}{{model_name="{MODEL}"}} 0"#));
        }
        for name in ["kv_blocks_used", "streams_open", "streams_without_terminal_total"] {
            self.shows(&format!(r#"antiphon_{name}{{model="{MODEL}"}} 0"#));
        }
    }

    /// Stops the server, and waits for its threads.
    pub(crate) fn stop(mut self) {
        self.end(true);
    }

    fn end(&mut self, graceful: bool) {
        let Some(thread) = self.thread.take() else { return };
        self.engine_comes();
        self.engine.release();
        // First the runtime, or its threads would outlive the test.
        self.handle.stop_now();
        if !std::thread::panicking() {
            self.wait_for(Status::Stopped);
        }
        // The request to stop is sent at once; the thread's end is the answer.
        drop(self.server.stop(graceful));
        let ended = thread.join();
        assert!(ended.is_ok() || std::thread::panicking(), "the server panicked");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.end(false);
    }
}

fn scrape(client: &mut Client) -> String {
    // Where there are no tenants, nobody asks for the key.
    client.get_as(ADMIN, "/metrics");
    client.answer().body
}

/// Whether a condition is met before patience ends.
pub(crate) fn eventually(mut is_met: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if is_met() {
            return true;
        }
        if begun.elapsed() > PATIENCE {
            return false;
        }
        std::thread::yield_now();
    }
}

/// An engine with room for many sequences of full length, or for one that is very long.
fn info(context: u32) -> EngineInfo {
    let num_sequences = if context > CONTEXT { 4 } else { 64 };
    let info = fake::info();
    let num_blocks = num_sequences * context.div_ceil(info.block_size);
    EngineInfo { context, num_blocks, rows_max: 64, step_tokens_max: 512, ..info }
}

/// Builds once the other end of `arrival` is dropped.
fn after_arrival(build: ExecutorFactory, arrival: Receiver<()>) -> ExecutorFactory {
    Arc::new(move || {
        let _dropped = arrival.recv();
        build()
    })
}
