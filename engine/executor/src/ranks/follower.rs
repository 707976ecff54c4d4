//! A rank other than the first: its thread, and what it is told.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::{self, JoinHandle};

use engine_backend::Rank;
use engine_contract::{EngineError, EngineInfo, Executor, StepPlan, Ticket};

use super::Ranks;
use crate::{BackendExecutor, Config, LoadError, ModelFile};

/// What came of a plan on one rank.
pub(super) type Launched = Result<Box<dyn Ticket>, EngineError>;

/// Plans that may wait for a rank: it is never further behind than the steps in flight, and if it
/// were, whoever launches would wait.
const PLANS_MAX: usize = 16;

/// A rank on a thread of its own.
pub(super) struct Follower {
    rank: Rank,
    /// Dropped to end the thread.
    plans: Option<SyncSender<Order>>,
    reports: Receiver<Result<Report, LoadError>>,
    thread: Option<JoinHandle<()>>,
}

/// What a follower is told.
enum Order {
    /// All ranks are open: join them, with a cache of so many bytes.
    Join(u64),
    /// Launch a step, and answer with its ticket.
    Launch(StepPlan, Sender<Launched>),
}

/// What a follower says while it is built.
enum Report {
    /// How many bytes its cache could take.
    Opened(u64),
    Built(EngineInfo),
}

/// All that a follower's thread has.
struct Seat<R> {
    ranks: R,
    rank: Rank,
    file: ModelFile,
    config: Config,
    orders: Receiver<Order>,
    reports: Sender<Result<Report, LoadError>>,
}

impl Follower {
    pub(super) fn start<R: Ranks>(ranks: R, rank: Rank, file: &ModelFile, config: &Config) -> Self {
        let (plans, orders) = mpsc::sync_channel(PLANS_MAX);
        let (reporter, reports) = mpsc::channel();
        let (file, config) = (file.clone(), config.clone());
        let seat = Seat { ranks, rank, file, config, orders, reports: reporter };
        let name = format!("rank-{}", rank.index());
        let thread = thread::Builder::new().name(name).spawn(move || seat.serve());
        // Without a thread, nobody holds the other ends, and that is found out next.
        Self { rank, plans: Some(plans), reports, thread: thread.ok() }
    }

    /// Waits until the rank's backend is open, and says how many bytes its cache could take.
    pub(super) fn opened(&self) -> Result<u64, LoadError> {
        match self.report()? {
            Report::Opened(kv_bytes) => Ok(kv_bytes),
            Report::Built(_) => Err(LoadError::RankPanicked),
        }
    }

    /// Tells the rank that all are open, and how many bytes its cache is to take.
    pub(super) fn join(&self, kv_bytes: u64) {
        self.send(Order::Join(kv_bytes));
    }

    /// Waits until the rank's executor is built.
    pub(super) fn built(&self) -> Result<EngineInfo, LoadError> {
        match self.report()? {
            Report::Built(info) => Ok(info),
            Report::Opened(_) => Err(LoadError::RankPanicked),
        }
    }

    /// Tells the rank to launch a step. If it is gone, the answer's other end is, too.
    pub(super) fn launch(&self, plan: &StepPlan) -> Receiver<Launched> {
        let (answer, launched) = mpsc::channel();
        self.send(Order::Launch(plan.clone(), answer));
        launched
    }

    fn send(&self, order: Order) {
        // A rank that is gone has said why, or its silence does.
        let _ = self.plans.as_ref().map(|plans| plans.send(order));
    }

    fn report(&self) -> Result<Report, LoadError> {
        let report = self.reports.recv().unwrap_or(Err(LoadError::RankPanicked));
        let (rank, of) = (self.rank.index(), self.rank.of());
        report.map_err(|reason| LoadError::Rank { rank, of, reason: Box::new(reason) })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.plans.take());
        // So that a device's memory is free before another engine wants it.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl<R: Ranks> Seat<R> {
    fn serve(self) {
        let Some(mut executor) = self.build() else { return };
        while let Ok(Order::Launch(plan, answer)) = self.orders.recv() {
            let launched = catch_unwind(AssertUnwindSafe(|| executor.launch(plan)));
            let launched =
                launched.unwrap_or_else(|panic| Err(EngineError::Panicked(text(&*panic))));
            let failed = launched.is_err();
            // Whoever asked may have given up.
            let _ = answer.send(launched);
            if failed {
                return;
            }
        }
    }

    /// The rank's executor, if all goes well; what does not is reported.
    fn build(&self) -> Option<BackendExecutor<R::Backend>> {
        let opened = open(&self.ranks, self.rank, &self.file, &self.config);
        let (backend, _) = self.reported(opened, |(_, kv_bytes)| Report::Opened(*kv_bytes))?;
        let Ok(Order::Join(kv_bytes)) = self.orders.recv() else { return None };
        let config = Config { kv_bytes_max: kv_bytes, ..self.config.clone() };
        let executor = self
            .ranks
            .join(backend, self.rank)
            .and_then(|backend| BackendExecutor::new(backend, &self.file, &config));
        self.reported(executor, |executor| Report::Built(*executor.info()))
    }

    fn reported<T>(
        &self,
        result: Result<T, LoadError>,
        report: impl FnOnce(&T) -> Report,
    ) -> Option<T> {
        let (report, value) = match result {
            Ok(value) => (Ok(report(&value)), Some(value)),
            Err(error) => (Err(error), None),
        };
        // Whoever builds the engine may have failed meanwhile.
        let _ = self.reports.send(report);
        value
    }
}

/// A rank's backend, and how many bytes its cache could take.
pub(super) fn open<R: Ranks>(
    ranks: &R,
    rank: Rank,
    file: &ModelFile,
    config: &Config,
) -> Result<(R::Backend, u64), LoadError> {
    config.validate()?;
    let backend = ranks.open(rank)?;
    let kv_bytes = BackendExecutor::kv_bytes(&backend, file, config)?;
    Ok((backend, kv_bytes))
}

/// What a panic says.
fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text").to_owned()
}
