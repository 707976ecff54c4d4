//! The world's own books: what each client asked for, got, and is still owed.
//!
//! They are kept from what goes in and comes out alone, and know the policy, so that every plan,
//! every update and every count can be compared with what it had to be.

use std::collections::VecDeque;

use engine_contract::{BlockId, Outcome, Sampled, SequenceId, StepPlan};
use runtime_core::{
    CancelCause, End, Finish, Limits, QueueBound, Rejected, Request, RequestId, Tick, Updates,
};

use crate::client::{Client, Standing};
use crate::fairness::Fairness;
use crate::script::output_max;
use crate::tenants::Tables;
use crate::view::View;

pub(crate) struct Books {
    pub(crate) limits: Limits,
    pub(crate) tables: Tables,
    pub(crate) fairness: Fairness,
    /// Everybody who was taken, in the order of arrival; sorted by id as well.
    pub(crate) clients: Vec<Client>,
    /// Rows of the steps in flight, oldest step first.
    pub(crate) flights: VecDeque<Vec<(usize, bool)>>,
    pub(crate) oldest_since: Tick,
    pub(crate) drain_deadline: Option<Tick>,
    pub(crate) num_submitted: u64,
    pub(crate) num_rejected: u64,
    pub(crate) num_steps: u64,
    pub(crate) num_preemptions: u64,
    pub(crate) num_admissions: u64,
    /// What each client was promised when the last plan began.
    pub(crate) promised_before: Vec<u32>,
    /// The step by which the first admitted of those running has ended, and who it is.
    pub(crate) first_ends_by: Option<(usize, u64)>,
}

impl Books {
    pub(crate) fn new(limits: Limits, tables: Tables) -> Self {
        Self {
            limits,
            tables,
            fairness: Fairness::default(),
            clients: Vec::new(),
            flights: VecDeque::new(),
            oldest_since: Tick(0),
            drain_deadline: None,
            num_submitted: 0,
            num_rejected: 0,
            num_steps: 0,
            num_preemptions: 0,
            num_admissions: 0,
            promised_before: Vec::new(),
            first_ends_by: None,
        }
    }

    /// What `submit` has to say.
    pub(crate) fn expected_verdict(&self, request: &Request, now: Tick) -> Result<(), Rejected> {
        let limits = &self.limits;
        let (prompt, context) = (request.prompt.len() as u32, limits.context);
        let capacity = limits.num_blocks * limits.block_size;
        let waiting = self.clients.iter().filter(|client| client.is_waiting());
        let num_waiting = waiting.clone().count() as u32;
        let num_tokens: usize = waiting.map(|client| client.request.prompt.len()).sum();
        let is_long =
            num_waiting > 0 && num_tokens as u64 + u64::from(prompt) > limits.waiting_tokens_max;
        let tenants = self.tables.expected_verdict(request, limits, &self.clients);
        let is_share =
            matches!(tenants, Err(Rejected::UnknownTenant(_) | Rejected::ExceedsShare { .. }));
        let terms = &request.terms;
        let is_late = [terms.queue_deadline, terms.deadline].iter().flatten().any(|&at| at <= now);
        let bound = if num_waiting >= limits.waiting_max {
            QueueBound::Requests(limits.waiting_max)
        } else {
            QueueBound::Tokens(limits.waiting_tokens_max)
        };
        match () {
            () if self.drain_deadline.is_some() => Err(Rejected::Draining),
            () if prompt == 0 => Err(Rejected::EmptyPrompt),
            () if prompt >= context => Err(Rejected::ContextExceeded { prompt, context }),
            () if prompt > capacity => Err(Rejected::ExceedsCache { prompt, capacity }),
            () if is_share => tenants,
            () if is_late => Err(Rejected::DeadlinePassed),
            () if tenants.is_err() => tenants,
            () if num_waiting >= limits.waiting_max || is_long => {
                Err(Rejected::QueueFull { waiting: num_waiting, bound, retry_after_us: None })
            }
            () => Ok(()),
        }
    }

    pub(crate) fn submitted(
        &mut self,
        request: &Request,
        verdict: Result<(), Rejected>,
        now: Tick,
    ) {
        let expected = self.expected_verdict(request, now);
        assert_eq!(timeless(verdict), expected, "law 8: bounded admission");
        self.check_retry_after(request, verdict);
        self.num_submitted += 1;
        if verdict.is_err() {
            self.num_rejected += 1;
            return;
        }
        let id = request.terms.tenant;
        let num_blocks = self.tables.blocks_max(id, &self.limits);
        let output_max = output_max(request, &self.limits, num_blocks);
        let priority = request.terms.priority.min(self.tables.get(id).priority_max);
        let rank = now.0 + u64::from(u8::MAX - priority.0) * self.limits.ageing_us;
        self.fairness.taken(request, output_max, &self.limits);
        self.clients.push(Client::new(request, output_max, rank));
        let open = self.clients.iter().filter(|client| client.end.is_none());
        let costs = open.map(|client| client.cost(&self.limits));
        let ends_by = self.num_steps + costs.sum::<u64>();
        self.clients.last_mut().expect("just pushed").ends_by = ends_by;
    }

    /// Who is told to come back later is told when, if anybody has left the queue so far.
    fn check_retry_after(&self, request: &Request, verdict: Result<(), Rejected>) {
        // A queue that is lost with its engine is not one that moves.
        let has_left = |client: &&Client| {
            let is_lost = client.end == Some(End::EngineFailed);
            client.num_cached.is_some() || (!client.is_waiting() && !is_lost)
        };
        let mut left = self.clients.iter().filter(has_left);
        let (is_expected, retry_after_us) = match verdict {
            Err(Rejected::QueueFull { retry_after_us, .. }) => {
                (left.next().is_some(), retry_after_us)
            }
            Err(Rejected::TenantQueueFull { retry_after_us, .. }) => {
                let id = request.terms.tenant;
                (left.any(|client| client.tenant() == id), retry_after_us)
            }
            _ => return,
        };
        // A tenant that was forgotten has left nothing behind.
        let is_known = retry_after_us.is_some() == is_expected || self.tables.has_removed;
        assert!(is_known, "{retry_after_us:?} although somebody left: {is_expected}");
    }

    pub(crate) fn cancelled(&mut self, id: RequestId, cause: CancelCause) {
        if let Ok(index) = self.clients.binary_search_by_key(&id, |client| client.request.id) {
            self.end(index, End::Cancelled(cause));
        }
    }

    pub(crate) fn failed(&mut self) {
        self.flights.clear();
        self.first_ends_by = None;
        for index in 0..self.clients.len() {
            self.clients[index].num_in_flight = 0;
            self.end(index, End::EngineFailed);
            self.settle(index);
        }
    }

    /// Whose deadline has passed has ended, before anything else happens.
    pub(crate) fn expired(&mut self, now: Tick) {
        for index in 0..self.clients.len() {
            if let Some((_, deadline)) =
                self.clients[index].next_deadline().filter(|&(time, _)| time <= now)
            {
                self.end(index, End::DeadlinePassed(deadline));
            }
        }
    }

    /// What `tick` does; says whether the oldest step has timed out.
    pub(crate) fn ticked(&mut self, now: Tick) -> bool {
        self.expired(now);
        if self.drain_deadline.is_some_and(|deadline| deadline <= now) {
            (0..self.clients.len())
                .for_each(|index| self.end(index, End::Cancelled(CancelCause::Drain)));
        }
        self.step_deadline().is_some_and(|deadline| deadline <= now)
    }

    pub(crate) fn next_deadline(&self) -> Option<Tick> {
        let drain = self.drain_deadline.filter(|_| self.num_open() > 0);
        let own = self.clients.iter().filter_map(Client::next_deadline).map(|(time, _)| time);
        drain.into_iter().chain(self.step_deadline()).chain(own).min()
    }

    pub(crate) fn planned(&mut self, plan: &StepPlan, before: &View, after: &View, now: Tick) {
        assert_eq!(plan.step.0, self.num_steps, "steps are consecutive");
        let budget = self.limits.step_tokens_max as usize;
        assert!(plan.num_tokens() <= budget, "law 6: tokens of a step");
        assert!(!plan.rows.is_empty(), "a plan has rows");
        if self.flights.is_empty() {
            self.oldest_since = now;
        }
        self.num_steps += 1;
        let is_protected = self.is_protected(plan);
        let decoding = self.decoding();
        self.check_order_of_rows(plan);
        let num_preempted = after.num_preempted_since(before);
        self.promised_before = self.promised();
        let first = (self.first_running(), self.num_admissions);
        let resumed = self.preempt_resumed(plan);
        let num_resumed = resumed.len() as u64;
        assert!(num_resumed <= num_preempted, "a seated sequence is seated again");
        // Who was in no step gave up its seat at once, and somebody may have it already.
        let named: Vec<_> = plan.rows.iter().map(|row| self.index_of(row.sequence)).collect();
        let is_free =
            |&index: &usize| self.clients[index].num_in_flight == 0 && !named.contains(&index);
        let gone: Vec<_> = self.victims(after).into_iter().filter(is_free).collect();
        self.preempt(gone.clone(), first, (before, after));
        self.take_rows(plan, &[resumed, gone.clone()].concat(), before, after);
        let depth = self.limits.pipeline_depth as usize;
        assert!(self.flights.len() <= depth, "law 6: steps in flight");
        let leaving = self.victims(after);
        let num_gone = (gone.len() + leaving.len()) as u64;
        assert_eq!(num_gone + num_resumed, num_preempted, "law 12: who is preempted waits again");
        self.preempt(leaving, first, (before, after));
        self.num_preemptions += num_resumed;
        self.check_first(plan, is_protected);
        self.check_bounds(before, after);
        self.check_decodes(plan, &decoding, after, num_preempted);
        self.check_stop(plan, is_protected, after, num_preempted);
    }

    pub(crate) fn completed(&mut self, sampled: &[Sampled], now: Tick) {
        self.oldest_since = now;
        let flight = self.flights.pop_front().expect("a step was in flight");
        let mut sampled = sampled.iter();
        for (index, samples) in flight {
            let client = &mut self.clients[index];
            client.num_in_flight -= 1;
            if samples {
                let outcome = sampled.next().expect("an outcome for each sampling row").outcome;
                client.num_sampling -= 1;
                if client.end.is_none() {
                    self.heard_outcome(index, outcome);
                }
            }
            self.settle(index);
        }
        // With one tenant everybody waits for those before it alone.
        let open = self.clients.iter().filter(|client| client.end.is_none());
        for client in open.filter(|_| self.tables.is_plain()) {
            let is_late = self.num_steps > client.ends_by;
            assert!(!is_late, "law 8, 12: {:?} starves", client.request.id);
        }
    }

    /// Every update is news, and all the news there is.
    pub(crate) fn polled(&mut self, updates: &Updates) {
        let ids: Vec<_> = updates.entries.iter().map(|update| update.id).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "updates are sorted, one a request");
        for update in &updates.entries {
            let found = self.clients.binary_search_by_key(&update.id, |client| client.request.id);
            let client = &mut self.clients[found.expect("updates are for those who were taken")];
            assert!(!client.heard_end, "law 3: {:?} hears something after its end", update.id);
            let tokens = &updates.tokens[update.tokens.clone()];
            assert_eq!(
                tokens,
                &client.output[client.num_heard..],
                "law 10: news of {:?}",
                update.id
            );
            assert_eq!(update.end, client.end, "law 3: the end of {:?}", update.id);
            let expected =
                (client.has_sampled && !client.heard_cached).then_some(client.num_cached);
            assert_eq!(update.num_cached, expected.flatten(), "cached tokens of {:?}", update.id);
            let is_news = !tokens.is_empty() || update.end.is_some() || update.num_cached.is_some();
            assert!(is_news, "{:?} hears nothing", update.id);
            client.num_heard += tokens.len();
            client.heard_end = client.end.is_some();
            client.heard_cached |= update.num_cached.is_some();
        }
        for client in &self.clients {
            let id = client.request.id;
            assert_eq!(client.num_heard, client.output.len(), "law 10: {id:?} missed a token");
            assert_eq!(client.heard_end, client.end.is_some(), "law 3: {id:?} missed its end");
        }
    }

    /// Blocks of everybody who may still touch them, but for one.
    pub(crate) fn held_without(&self, sequence: SequenceId) -> Vec<BlockId> {
        let others = self.holders().filter(|client| client.request.id.0 != sequence.0);
        others.flat_map(|client| client.table.iter().copied()).collect()
    }

    pub(crate) fn open_ids(&self) -> Vec<RequestId> {
        let open = self.clients.iter().filter(|client| client.end.is_none());
        open.map(|client| client.request.id).collect()
    }

    pub(crate) fn num_open(&self) -> usize {
        self.open_ids().len()
    }

    fn step_deadline(&self) -> Option<Tick> {
        let timeout = self.limits.step_timeout_us;
        (!self.flights.is_empty()).then(|| Tick(self.oldest_since.0 + timeout))
    }

    fn end(&mut self, index: usize, end: End) {
        self.clients[index].end.get_or_insert(end);
        self.settle(index);
    }

    /// What a client holds comes home once no step in flight names it.
    pub(crate) fn settle(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let is_leaving = client.end.is_some() || client.standing == Standing::Preempted;
        if client.num_in_flight == 0 && is_leaving {
            client.standing = Standing::Away;
            client.table.clear();
        }
    }

    fn heard_outcome(&mut self, index: usize, outcome: Outcome) {
        let client = &mut self.clients[index];
        let Outcome::Token(token) = outcome else { return self.end(index, End::NotFinite) };
        client.has_sampled = true;
        let may_stop = client.output.len() as u32 >= client.request.min_tokens;
        if may_stop && client.request.stop_tokens.contains(&token) {
            return self.end(index, End::Finished(Finish::StopToken(token)));
        }
        client.output.push(token);
        if client.output.len() as u32 == client.output_max {
            self.end(index, End::Finished(Finish::Length));
        }
    }

    pub(crate) fn index_of(&self, sequence: SequenceId) -> usize {
        let id = RequestId(sequence.0);
        let found = self.clients.binary_search_by_key(&id, |client| client.request.id);
        found.expect("rows are for those who were taken")
    }

    /// Everybody who holds blocks.
    pub(crate) fn holders(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().filter(|client| client.standing != Standing::Away)
    }
}

/// A verdict without when to come back.
fn timeless(mut verdict: Result<(), Rejected>) -> Result<(), Rejected> {
    if let Err(
        Rejected::QueueFull { retry_after_us, .. }
        | Rejected::TenantQueueFull { retry_after_us, .. },
    ) = &mut verdict
    {
        *retry_after_us = None;
    }
    verdict
}
