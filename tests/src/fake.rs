//! An engine without a model: what it says is a function of what it read, and when its steps end,
//! or break, is the test's to decide.
//!
//! It holds the caller to the executor's promises where that is cheap: a seat's first row is fresh,
//! and a row begins where the seat's last one ended.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use engine_contract::{
    EngineError, EngineInfo, Executor, Logprob, Logprobs, Outcome, RowTokens, Sampled, Sampling,
    SeatId, SequenceId, StepId, StepOutput, StepPlan, TableChange, Ticket, TokenId,
};
use parking_lot::{Condvar, Mutex};
use runtime::ExecutorFactory;

use crate::bytes;

/// The token that follows a sequence: of its tokens so far, and how many of them are output.
pub type Speech = Arc<dyn Fn(&[TokenId], usize) -> TokenId + Send + Sync>;

/// Says `text`, one byte a token, and then that it ends.
#[must_use]
pub fn says(text: &str) -> Speech {
    let text = text.as_bytes().to_vec();
    Arc::new(move |_, num_output| {
        text.get(num_output).map_or(bytes::END, |byte| bytes::byte(*byte))
    })
}

/// Says letters without end, each a function of everything before it.
#[must_use]
pub fn babbles() -> Speech {
    Arc::new(|history, _| {
        // Fowler, Noll and Vo's hash, 1a.
        let hash = history.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, token| {
            (hash ^ u64::from(token.0)).wrapping_mul(0x100_0000_01b3)
        });
        let letter = u8::try_from((hash >> 32) % 26).expect("a remainder of 26 is small");
        bytes::byte(b'a' + letter)
    })
}

/// What goes wrong in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The result is that of a step nobody asked for.
    AnswersAnother,
    /// The launch fails.
    LaunchFails,
    /// The launch panics.
    LaunchPanics,
    /// Waiting fails.
    WaitFails,
    /// Waiting fails, and no engine can be built any more.
    WaitLoses,
    /// Waiting panics.
    WaitPanics,
}

/// The test's end of every engine that comes out of one factory.
#[derive(Clone)]
pub struct Fake {
    shared: Arc<Shared>,
}

struct Shared {
    info: EngineInfo,
    speech: Speech,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    plans: Vec<StepPlan>,
    num_built: usize,
    /// Steps below this number may end; steps are counted over all engines.
    allowed: usize,
    faults: HashMap<usize, Fault>,
    /// What the next builds come to; when it is empty they succeed.
    build_errors: VecDeque<String>,
}

/// The sizes of a small engine over [`bytes::model`].
#[must_use]
pub fn info() -> EngineInfo {
    EngineInfo {
        vocab: bytes::VOCAB,
        context: bytes::CONTEXT,
        block_size: 16,
        num_blocks: 64,
        rows_max: 8,
        step_tokens_max: 64,
        weight_bytes: 0,
        kv_bytes: 0,
        can_be_abandoned: true,
    }
}

impl Fake {
    /// An engine of [`info`]'s sizes whose steps end as they come.
    #[must_use]
    pub fn new(speech: Speech) -> Self {
        Self::with_info(info(), speech)
    }

    /// An engine of these sizes whose steps end as they come.
    #[must_use]
    pub fn with_info(info: EngineInfo, speech: Speech) -> Self {
        let state = State {
            plans: Vec::new(),
            num_built: 0,
            allowed: usize::MAX,
            faults: HashMap::new(),
            build_errors: VecDeque::new(),
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Self { shared: Arc::new(Shared { info, speech, state, changed }) }
    }

    /// Builds engines that obey this.
    #[must_use]
    pub fn factory(&self) -> ExecutorFactory {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || {
            let mut state = shared.state.lock();
            if let Some(error) = state.build_errors.pop_front() {
                return Err(error.into());
            }
            state.num_built += 1;
            Ok(Box::new(FakeExecutor::new(Arc::clone(&shared))))
        })
    }

    /// From now on no step ends that is not launched yet.
    pub fn hold(&self) {
        self.change(|state| state.allowed = state.plans.len());
    }

    /// Lets so many more steps end.
    pub fn allow(&self, num_steps: usize) {
        self.change(|state| state.allowed += num_steps);
    }

    /// Lets every step end.
    pub fn release(&self) {
        self.change(|state| state.allowed = usize::MAX);
    }

    /// Lets a step go wrong, counted from the next one to be launched.
    pub fn fault(&self, step: usize, fault: Fault) {
        self.change(|state| {
            let step = state.plans.len() + step;
            state.faults.insert(step, fault);
        });
    }

    /// Lets the next build that is not spoken for fail.
    pub fn fail_build(&self, error: &str) {
        self.change(|state| state.build_errors.push_back(error.to_owned()));
    }

    /// Engines built so far.
    #[must_use]
    pub fn num_built(&self) -> usize {
        self.shared.state.lock().num_built
    }

    /// Steps launched so far, over all engines.
    #[must_use]
    pub fn num_steps(&self) -> usize {
        self.shared.state.lock().plans.len()
    }

    /// The sequences that each step from number `from` on names.
    #[must_use]
    pub fn steps(&self, from: usize) -> Vec<Vec<SequenceId>> {
        let state = self.shared.state.lock();
        let sequences = |plan: &StepPlan| plan.rows.iter().map(|row| row.sequence).collect();
        state.plans[from..].iter().map(sequences).collect()
    }

    /// How every token of the steps launched so far was to be drawn, over all engines.
    #[must_use]
    pub fn samplings(&self) -> Vec<Arc<Sampling>> {
        let state = self.shared.state.lock();
        let rows = state.plans.iter().flat_map(|plan| &plan.rows);
        rows.filter_map(|row| row.sample.clone()).collect()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock());
        self.shared.changed.notify_all();
    }
}

struct FakeExecutor {
    shared: Arc<Shared>,
    /// The tokens of each seat's sequence, the last one sampled among them.
    seats: HashMap<SeatId, Vec<TokenId>>,
    prompt_lens: HashMap<SequenceId, usize>,
}

impl FakeExecutor {
    fn new(shared: Arc<Shared>) -> Self {
        Self { shared, seats: HashMap::new(), prompt_lens: HashMap::new() }
    }

    fn sample(&mut self, plan: &StepPlan) -> Vec<Sampled> {
        let mut sampled = Vec::new();
        for row in &plan.rows {
            let fresh = matches!(row.table, TableChange::Fresh(_));
            let known = self.seats.entry(row.seat).or_default();
            match &row.tokens {
                RowTokens::Device => assert!(!fresh, "a fresh seat has sampled nothing"),
                RowTokens::Host(text, range) => {
                    let start = row.start as usize;
                    assert!(fresh || known.len() >= start, "a row leaves no gap");
                    // A token that was sampled and is known again comes alone.
                    let is_alone = !fresh && text.len() == 1 && start > 0;
                    let is_in_place = start == range.start || is_alone;
                    assert!(is_in_place, "positions are places in the text");
                    known.truncate(start);
                    if is_alone {
                        known.push(text[0]);
                    } else {
                        *known = text[..range.end].to_vec();
                    }
                }
            }
            let end = row.start as usize + row.tokens.len();
            assert_eq!(known.len(), end, "a row ends with what is known");
            if row.sample.is_some() {
                let prompt_len = *self.prompt_lens.entry(row.sequence).or_insert(end);
                let token = (self.shared.speech)(known, end - prompt_len);
                known.push(token);
                let outcome = Outcome::Token(token);
                let logprobs = row.sample.as_ref().and_then(|sampling| sampling.logprobs);
                let logprobs = logprobs.map(|top| Box::new(made_up(token, top)));
                sampled.push(Sampled { sequence: row.sequence, outcome, logprobs });
            }
        }
        sampled
    }
}

impl Executor for FakeExecutor {
    fn info(&self) -> &EngineInfo {
        &self.shared.info
    }

    fn launch(&mut self, plan: StepPlan) -> Result<Box<dyn Ticket>, EngineError> {
        let mut output =
            StepOutput { step: plan.step, sampled: self.sample(&plan), gap: Duration::ZERO };
        let (number, fault) = {
            let mut state = self.shared.state.lock();
            let number = state.plans.len();
            state.plans.push(plan);
            (number, state.faults.remove(&number))
        };
        match fault {
            Some(Fault::LaunchFails) => return Err(EngineError::Device("no launch".to_owned())),
            Some(Fault::LaunchPanics) => panic!("a test breaks the launch"),
            Some(Fault::AnswersAnother) => output.step = StepId(u64::MAX),
            Some(Fault::WaitFails | Fault::WaitLoses | Fault::WaitPanics) | None => {}
        }
        Ok(Box::new(FakeTicket { shared: Arc::clone(&self.shared), number, fault, output }))
    }
}

/// The token is likely, and each of the next ones in the vocabulary less so by a power of e.
fn made_up(token: TokenId, top: u32) -> Logprobs {
    let logprob = |nth: u32| Logprob {
        token: TokenId((token.0 + nth) % bytes::VOCAB),
        logprob: -0.5 - nth as f32,
    };
    Logprobs { drawn: logprob(0).logprob, top: (0..top).map(logprob).collect() }
}

struct FakeTicket {
    shared: Arc<Shared>,
    number: usize,
    fault: Option<Fault>,
    output: StepOutput,
}

impl Ticket for FakeTicket {
    fn wait(self: Box<Self>) -> Result<StepOutput, EngineError> {
        let mut state = self.shared.state.lock();
        self.shared.changed.wait_while(&mut state, |state| state.allowed <= self.number);
        drop(state);
        match self.fault {
            Some(Fault::WaitFails) => Err(EngineError::Device("no result".to_owned())),
            Some(Fault::WaitLoses) => Err(EngineError::Lost("an illegal address".to_owned())),
            Some(Fault::WaitPanics) => panic!("a test breaks the wait"),
            Some(Fault::AnswersAnother | Fault::LaunchFails | Fault::LaunchPanics) | None => {
                Ok(self.output)
            }
        }
    }
}
