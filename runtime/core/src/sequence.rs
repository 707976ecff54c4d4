//! One sequence: what is known of it, what is computed, what is planned.
//!
//! ```text
//! position   0 ......... num_computed ....... num_planned ........ horizon
//!            in the cache │ in steps in flight │ to be planned next │
//! ```
//!
//! The horizon counts the tokens known and those that steps in flight will sample. A row always
//! starts at `num_planned`; one that reaches the horizon samples the next token and moves the
//! horizon by one. There is no other difference between prefilling, decoding and recomputing.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use engine_contract::{RowTokens, SeatId, SequenceId, TokenId};

use crate::Request;
use crate::arena::Key;
use crate::kv::{Owner, Table};
use crate::ledger::Account;
use crate::roster::Member;

/// A request's tokens and where they stand.
pub(crate) struct Sequence {
    pub(crate) request: Request,
    pub(crate) account: Key<Account>,
    pub(crate) tenant: Key<Member>,
    /// Its place among its tenant's, by the time of arrival and the priority.
    pub(crate) rank: u64,
    /// Its number in the order of arrival.
    pub(crate) arrival: u64,
    /// Its number in the order of admission, when it was last admitted.
    pub(crate) admission: u64,
    /// Most tokens that it will generate, by its own wish, the context and the pool.
    pub(crate) output_max: u32,
    /// What was known when it was last admitted: the prompt, or prompt and output when resumed.
    pub(crate) text: Arc<[TokenId]>,
    /// Tokens generated.
    pub(crate) output: Vec<TokenId>,
    /// Positions confirmed by steps that ended.
    pub(crate) num_computed: u32,
    /// Positions computed or in a step in flight.
    pub(crate) num_planned: u32,
    /// Tokens that steps in flight will sample.
    pub(crate) num_sampling: u32,
    /// Steps in flight that have a row of it.
    pub(crate) num_in_flight: u32,
    pub(crate) place: Place,
    /// Held until no step in flight names it.
    pub(crate) seat: Option<SeatId>,
    /// Held as long as the seat.
    pub(crate) table: Table,
    /// Prompt tokens found in the prefix index when it was first admitted.
    pub(crate) num_cached: Option<u32>,
    /// Prompt tokens that its tenant has paid for or got for nothing; none is paid for twice.
    pub(crate) num_charged: u32,
}

/// Whose a sequence is, and where it stands among others.
#[derive(Clone, Copy)]
pub(crate) struct Claimant {
    pub(crate) tenant: Key<Member>,
    pub(crate) rank: u64,
    pub(crate) arrival: u64,
}

/// What may happen to a sequence next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its account is closed; steps in flight may still touch its blocks.
    Closed,
    /// All that it will ever need is planned; the steps in flight will end it.
    Ending,
    /// In the queue again, but steps in flight may still touch its blocks and sample its tokens.
    Preempted,
    /// Rows are planned for it.
    Running,
    /// In the queue, holding nothing.
    Waiting,
}

impl Sequence {
    pub(crate) fn new(
        request: Request,
        account: Key<Account>,
        claimant: Claimant,
        output_max: u32,
    ) -> Self {
        let Claimant { tenant, rank, arrival } = claimant;
        Self {
            account,
            tenant,
            rank,
            arrival,
            admission: 0,
            output_max,
            text: Arc::clone(&request.prompt),
            output: Vec::new(),
            num_computed: 0,
            num_planned: 0,
            num_sampling: 0,
            num_in_flight: 0,
            place: Place::Waiting,
            seat: None,
            table: Table::new(request.salt, Owner(tenant.number())),
            num_cached: None,
            num_charged: 0,
            request,
        }
    }

    /// Prompt tokens before `end` that nobody has paid for yet.
    pub(crate) fn charge_to(&mut self, end: u32) -> u32 {
        let end = end.min(self.num_prompt());
        let num_new = end.saturating_sub(self.num_charged);
        self.num_charged += num_new;
        num_new
    }

    /// Accounts for a row of `len` tokens in the step being planned. Says whether the row samples.
    pub(crate) fn advance(&mut self, len: u32) -> bool {
        self.num_planned += len;
        self.num_in_flight += 1;
        let samples = self.num_planned == self.horizon();
        self.num_sampling += u32::from(samples);
        samples
    }

    /// Takes in what a row sampled: appends the token, or says how the output is complete.
    pub(crate) fn take(&mut self, token: TokenId) -> Taken {
        let is_stop = self.request.stop_tokens.contains(&token);
        if is_stop && self.output.len() >= self.request.min_tokens as usize {
            return Taken::Dropped;
        }
        self.output.push(token);
        if self.output.len() == self.output_max as usize { Taken::Last } else { Taken::Kept }
    }

    /// An empty table.
    pub(crate) fn blank_table(&self) -> Table {
        Table::new(self.request.salt, Owner(self.tenant.number()))
    }

    /// Its place among its tenant's.
    pub(crate) const fn order(&self) -> (u64, u64) {
        (self.rank, self.arrival)
    }

    /// Gives up what is computed, and takes what is known by now as the text to start over with.
    pub(crate) fn rewind(&mut self) {
        assert_eq!(
            self.num_sampling, 0,
            "law 10: a sequence resumes when all its tokens are known"
        );
        self.num_computed = 0;
        self.num_planned = 0;
        if self.text.len() < self.num_known() as usize {
            self.text = self.known_tokens(0..self.num_known()).collect();
        }
    }

    /// Tokens that the host knows.
    pub(crate) fn num_known(&self) -> u32 {
        self.num_prompt() + self.output.len() as u32
    }

    pub(crate) fn num_prompt(&self) -> u32 {
        self.request.prompt.len() as u32
    }

    pub(crate) fn num_text(&self) -> u32 {
        self.text.len() as u32
    }

    /// The end of what can be planned now.
    pub(crate) fn horizon(&self) -> u32 {
        self.num_known() + self.num_sampling
    }

    /// Whether it has caught up with its text, so that one token a step is all it needs.
    pub(crate) fn is_decoding(&self) -> bool {
        self.num_planned >= self.num_text()
    }

    /// Whether the steps in flight are known to sample its last token.
    pub(crate) fn is_all_planned(&self) -> bool {
        self.output.len() as u32 + self.num_sampling == self.output_max
    }

    /// The input of a row of `len` tokens at `num_planned`.
    pub(crate) fn row_tokens(&self, len: u32) -> RowTokens {
        let start = self.num_planned;
        if start < self.num_text() {
            return RowTokens::Host(Arc::clone(&self.text), start as usize..(start + len) as usize);
        }
        if start < self.num_known() {
            return RowTokens::Host(
                self.known_tokens(start..start + len).collect(),
                0..len as usize,
            );
        }
        RowTokens::Device
    }

    fn known_tokens(&self, positions: Range<u32>) -> impl Iterator<Item = TokenId> {
        known_tokens(&self.request.prompt, &self.output, positions)
    }

    /// Its name in plans. A request has one sequence, so they share their number.
    pub(crate) const fn id(&self) -> SequenceId {
        SequenceId(self.request.id.0)
    }
}

/// The tokens at `positions` of a prompt with its output so far.
pub(crate) fn known_tokens(
    prompt: &[TokenId],
    output: &[TokenId],
    positions: Range<u32>,
) -> impl Iterator<Item = TokenId> {
    positions.map(|position| match prompt.get(position as usize) {
        Some(&token) => token,
        None => output[position as usize - prompt.len()],
    })
}

/// What became of a sampled token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is a stop token: the output was complete before it.
    Dropped,
    /// It is part of the output.
    Kept,
    /// It is part of the output, and completes it.
    Last,
}
