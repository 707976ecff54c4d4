//! The runtime from outside: start it, watch it, stop it, make workers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use engine_contract::{EngineInfo, Sampling};
use runtime_core::Snapshot;
use runtime_text::{ChatTemplate, Tokenizer};
use tokio::sync::watch;

use crate::lifecycle::Status;
use crate::message::{BeginDrain, Census, HubId, SetTenants, StopNow};
use crate::telemetry::Telemetry;
use crate::wiring::{self, Wires};
use crate::worker::Worker;
use crate::{
    Caller, Config, ExecutorFactory, KeyHash, Standing, Tenancy, TenancyChanges, TenancyError,
    UsageSink,
};

/// Longest that a scrape waits for the scheduler.
const CENSUS_TIMEOUT: Duration = Duration::from_secs(1);

/// What is known of a model without its weights.
#[derive(Clone)]
pub struct Model {
    /// What clients see of it.
    pub card: ModelCard,
    /// Turns text into its tokens and back.
    pub tokenizer: Arc<Tokenizer>,
    /// Its chat template, if it has one.
    pub template: Option<Arc<ChatTemplate>>,
}

/// What clients see of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelCard {
    /// Its name.
    pub id: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Most positions of one sequence, prompt and output together.
    pub context: u32,
    /// How tokens are drawn where a request does not say it. The seed means nothing here.
    pub sampling: Sampling,
    /// The names that the chat template reads ([`ChatTemplate::variables`]); none without one.
    pub template_variables: BTreeSet<String>,
}

/// Starts everything.
#[derive(Debug)]
pub struct Runtime;

impl Runtime {
    /// Starts every actor and begins to build the engine; the handle is usable at once.
    ///
    /// `config` has passed [`Config::validate`]. `factory` is called on the thread that will own
    /// the executor, and again for each engine that replaces a failed one.
    ///
    /// # Panics
    /// Outside an actix system, or if the operating system has no thread left.
    #[must_use]
    pub fn start(config: Config, model: Model, factory: ExecutorFactory) -> Handle {
        let card = Arc::new(model.card.clone());
        let wires = wiring::start(config, model, factory);
        let shared = Shared { wires, card, num_hubs: AtomicU16::new(0) };
        Handle { shared: Arc::new(shared) }
    }
}

/// The runtime from outside. Copies are the same runtime; dropping the last one stops nothing.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    wires: Wires,
    card: Arc<ModelCard>,
    num_hubs: AtomicU16,
}

impl Handle {
    /// A way in for the arbiter that this is called on, where its requests then live. One per HTTP
    /// worker.
    ///
    /// # Panics
    /// Outside an arbiter, or at the 65,536th call.
    #[must_use]
    pub fn worker(&self) -> Worker {
        let number = self.shared.num_hubs.fetch_add(1, Ordering::Relaxed);
        assert!(number < u16::MAX, "a worker's number has sixteen bits");
        Worker::start(self.clone(), HubId::new(number))
    }

    /// Finishes what is open and takes nothing new; then the status is [`Status::Stopped`]. What is
    /// open after `drain_timeout_ms` is cancelled. A second call changes nothing.
    pub fn drain(&self) {
        self.shared.wires.lifecycle.do_send(BeginDrain {});
    }

    /// Cancels what is open; the status is [`Status::Stopped`] within half a second.
    pub fn stop_now(&self) {
        self.shared.wires.lifecycle.do_send(StopNow {});
    }

    /// What the runtime is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        *self.shared.wires.status.borrow()
    }

    /// Follows the status.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.shared.wires.status.clone()
    }

    /// How it went, once the status is [`Status::Stopped`]: 0 after a drain, 1 if the engine never
    /// came up, 70 if it failed for good. (A process in which the scheduler panicked is gone
    /// already, with 71.)
    #[must_use]
    pub fn exit_code(&self) -> Option<u8> {
        self.shared.wires.facts.lock().exit_code
    }

    /// The engine's last failure, or why it never came up; for display.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.shared.wires.facts.lock().failure.clone()
    }

    /// The sizes of the engine, once there has been one.
    #[must_use]
    pub fn engine_info(&self) -> Option<EngineInfo> {
        self.shared.wires.facts.lock().engine
    }

    /// The scheduler's counts as of its last step.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.shared.wires.telemetry.snapshot()
    }

    /// Counters and histograms.
    #[must_use]
    pub fn telemetry(&self) -> Arc<Telemetry> {
        Arc::clone(&self.shared.wires.telemetry)
    }

    /// All metrics in the OpenMetrics text format, with what each tenant has at this moment.
    pub async fn scrape(&self) -> String {
        let wires = self.wires();
        let census = tokio::time::timeout(CENSUS_TIMEOUT, wires.scheduler.send(Census {})).await;
        // A scheduler that is gone, or far behind, has nothing to say; what was counted is shown
        // all the same.
        if let Ok(Ok(census)) = census {
            wires.telemetry.tenants.take_census(census);
        }
        wires.telemetry.encode()
    }

    /// Other tenants are served from now on. Requests that were taken under the table before go on.
    ///
    /// # Errors
    /// The table can not be used; nothing has changed.
    pub fn set_tenancy(&self, tenancy: &Tenancy) -> Result<TenancyChanges, TenancyError> {
        let wires = self.wires();
        let tell = |tenants| wires.scheduler.do_send(SetTenants { tenants });
        wires.directory.replace(tenancy, tell)
    }

    /// The tenant that this key belongs to, or the one that is served without a key.
    #[must_use]
    pub fn caller(&self, key: Option<&KeyHash>) -> Option<Caller> {
        self.wires().directory.find(key)
    }

    /// Whether this is a key of those who run the server.
    #[must_use]
    pub fn is_admin(&self, key: &KeyHash) -> bool {
        self.wires().directory.is_admin(key)
    }

    /// Whether there are no tenants, so that everybody is served.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.wires().directory.is_open()
    }

    /// What a tenant may still take.
    #[must_use]
    pub fn standing(&self, caller: &Caller) -> Standing {
        caller.member().record.standing(self.wires().clock.now())
    }

    /// From now on every request that ends is put on record. The first call counts.
    pub fn record_usage(&self, sink: UsageSink) {
        // A second sink would be another set of books.
        let _ = self.wires().usage.set(sink);
    }

    /// The model that is served.
    #[must_use]
    pub fn card(&self) -> Arc<ModelCard> {
        Arc::clone(&self.shared.card)
    }

    pub(crate) fn wires(&self) -> &Wires {
        &self.shared.wires
    }
}
