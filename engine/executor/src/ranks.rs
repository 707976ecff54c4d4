//! An executor of several ranks, which compute every step together.
//!
//! Each rank is a [`BackendExecutor`] on a thread of its own, with its share of the model: the
//! first one on the thread of whoever launches steps, the others on threads that wait for plans.
//! All get the same plans, keep the same tables and draw the same tokens, since they have the same
//! logits and a draw depends on nothing else; the first one's are answered. What the ranks tell
//! each other is their backends' concern.

mod follower;

use std::sync::mpsc::Receiver;

use engine_backend::{Backend, Rank};
use engine_contract::{EngineError, EngineInfo, Executor, StepOutput, StepPlan, Ticket};

use crate::{BackendExecutor, Config, LoadError, ModelFile};
use follower::{Follower, Launched};

/// How the backends of ranks come to be: each by itself, and, once all are there, together.
pub trait Ranks: Clone + Send + 'static {
    /// What each of them computes with.
    type Backend: Backend;

    /// Opens a rank's backend, on the thread that will use it. Waits for no other rank.
    ///
    /// # Errors
    /// The device cannot be used.
    fn open(&self, rank: Rank) -> Result<Self::Backend, LoadError>;

    /// Makes a backend the rank that it is among the others, which do the same now: may wait for
    /// them.
    ///
    /// # Errors
    /// The ranks cannot reach each other.
    fn join(&self, backend: Self::Backend, rank: Rank) -> Result<Self::Backend, LoadError>;
}

/// Runs a model's steps on the backends of several ranks.
pub struct RankedExecutor<B: Backend> {
    // Dropped before the others, which may be waiting for what it would have said.
    first: BackendExecutor<B>,
    others: Vec<Follower>,
    info: EngineInfo,
}

impl<B: Backend> RankedExecutor<B> {
    /// Brings a file's model to the backends of `of` ranks.
    ///
    /// # Errors
    /// The model cannot run or cannot be shared, a setting is out of range, a device cannot be used
    /// or has no room.
    ///
    /// # Panics
    /// If there is no rank.
    pub fn new<R: Ranks<Backend = B>>(
        ranks: &R,
        of: usize,
        file: &ModelFile,
        config: &Config,
    ) -> Result<Self, LoadError> {
        let rank = Rank::new(0, of);
        let others = Rank::all(of).skip(1);
        let others: Vec<_> =
            others.map(|rank| Follower::start(ranks.clone(), rank, file, config)).collect();
        let (backend, mut kv_bytes) = follower::open(ranks, rank, file, config)?;
        // One that waits for a rank that never comes would wait for ever.
        for other in &others {
            // Devices may have different memory left, and all have the same tables.
            kv_bytes = kv_bytes.min(other.opened()?);
        }
        others.iter().for_each(|other| other.join(kv_bytes));
        let config = Config { kv_bytes_max: kv_bytes, ..config.clone() };
        let first = ranks
            .join(backend, rank)
            .and_then(|backend| BackendExecutor::new(backend, file, &config))?;
        let info = *first.info();
        for other in &others {
            assert_eq!(other.built()?, info, "all ranks have the same sizes");
        }
        let info = EngineInfo { kv_bytes: info.kv_bytes * of as u64, ..info };
        Ok(Self { first, others, info })
    }

    /// The first rank's backend.
    pub(crate) const fn first(&self) -> &B {
        self.first.backend()
    }

    /// The logits that the last step drew from, as the first rank has them: for measuring how far a
    /// backend is from another.
    #[must_use]
    pub const fn logits(&self) -> &B::Buffer {
        self.first.logits()
    }
}

impl<B: Backend> Executor for RankedExecutor<B> {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn launch(&mut self, plan: StepPlan) -> Result<Box<dyn Ticket>, EngineError> {
        // The others first: where steps run as they are launched, the first rank waits for them.
        let others = self.others.iter().map(|other| other.launch(&plan)).collect();
        let first = self.first.launch(plan)?;
        Ok(Box::new(RankedTicket { first, others }))
    }
}

/// A step that all ranks were told to launch.
struct RankedTicket {
    first: Box<dyn Ticket>,
    others: Vec<Receiver<Launched>>,
}

impl Ticket for RankedTicket {
    fn wait(self: Box<Self>) -> Result<StepOutput, EngineError> {
        let Self { first, others } = *self;
        // A step that one rank did not launch never ends on the others.
        let launched = |other: Receiver<Launched>| other.recv().unwrap_or_else(|_| Err(gone()));
        let others = others.into_iter().map(launched).collect::<Result<Vec<_>, _>>()?;
        let output = first.wait()?;
        for other in others {
            other.wait()?;
        }
        Ok(output)
    }
}

fn gone() -> EngineError {
    EngineError::Panicked("a rank had failed before".to_owned())
}
