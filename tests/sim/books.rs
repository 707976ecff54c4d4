//! The world's own books: what each client asked for, got, and is still owed.
//!
//! They are kept from what goes in and comes out alone, and know the policy, so that every plan,
//! every update and every count can be compared with what it had to be.

use std::collections::VecDeque;

use engine_contract::{
    BlockId, Outcome, Row, RowTokens, Sampled, SequenceId, StepPlan, TableChange,
};
use runtime_core::{
    CancelCause, End, Finish, Limits, Rejected, Request, RequestId, Snapshot, Tick, Updates,
};

use crate::client::{Client, Standing};

pub(crate) struct Books {
    pub(crate) limits: Limits,
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
}

impl Books {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            clients: Vec::new(),
            flights: VecDeque::new(),
            oldest_since: Tick(0),
            drain_deadline: None,
            num_submitted: 0,
            num_rejected: 0,
            num_steps: 0,
            num_preemptions: 0,
        }
    }

    /// What `submit` has to say.
    pub(crate) fn expected_verdict(&self, request: &Request) -> Result<(), Rejected> {
        let limits = &self.limits;
        let (prompt, context) = (request.prompt.len() as u32, limits.context);
        let capacity = limits.num_blocks * limits.block_size;
        let waiting = self.clients.iter().filter(|client| client.is_waiting());
        let num_waiting = waiting.clone().count() as u32;
        let num_tokens: usize = waiting.map(|client| client.request.prompt.len()).sum();
        let is_long =
            num_waiting > 0 && num_tokens as u64 + u64::from(prompt) > limits.waiting_tokens_max;
        match () {
            () if self.drain_deadline.is_some() => Err(Rejected::Draining),
            () if prompt == 0 => Err(Rejected::EmptyPrompt),
            () if prompt >= context => Err(Rejected::ContextExceeded { prompt, context }),
            () if prompt > capacity => Err(Rejected::ExceedsCache { prompt, capacity }),
            () if num_waiting >= limits.waiting_max || is_long => {
                Err(Rejected::QueueFull { waiting: num_waiting })
            }
            () => Ok(()),
        }
    }

    pub(crate) fn submitted(&mut self, request: &Request, verdict: Result<(), Rejected>) {
        assert_eq!(verdict, self.expected_verdict(request), "law 8: bounded admission");
        self.num_submitted += 1;
        if verdict.is_err() {
            self.num_rejected += 1;
            return;
        }
        self.clients.push(Client::new(request, &self.limits));
        let depth = self.limits.pipeline_depth;
        let open = self.clients.iter().filter(|client| client.end.is_none());
        let ends_by = self.num_steps + open.map(|client| client.cost(depth)).sum::<u64>();
        self.clients.last_mut().expect("just pushed").ends_by = ends_by;
    }

    pub(crate) fn cancelled(&mut self, id: RequestId, cause: CancelCause) {
        if let Ok(index) = self.clients.binary_search_by_key(&id, |client| client.request.id) {
            self.end(index, End::Cancelled(cause));
        }
    }

    pub(crate) fn failed(&mut self) {
        self.flights.clear();
        for index in 0..self.clients.len() {
            self.clients[index].num_in_flight = 0;
            self.end(index, End::EngineFailed);
            self.settle(index);
        }
    }

    /// What `tick` does; says whether the oldest step has timed out.
    pub(crate) fn ticked(&mut self, now: Tick) -> bool {
        if self.drain_deadline.is_some_and(|deadline| deadline <= now) {
            (0..self.clients.len())
                .for_each(|index| self.end(index, End::Cancelled(CancelCause::Drain)));
        }
        self.step_deadline().is_some_and(|deadline| deadline <= now)
    }

    pub(crate) fn next_deadline(&self) -> Option<Tick> {
        let drain = self.drain_deadline.filter(|_| self.num_open() > 0);
        drain.into_iter().chain(self.step_deadline()).min()
    }

    pub(crate) fn planned(
        &mut self,
        plan: &StepPlan,
        before: &Snapshot,
        after: &Snapshot,
        now: Tick,
    ) {
        assert_eq!(plan.step.0, self.num_steps, "steps are consecutive");
        let budget = self.limits.step_tokens_max as usize;
        assert!(plan.num_tokens() <= budget, "law 6: tokens of a step");
        assert!(!plan.rows.is_empty(), "a plan has rows");
        if self.flights.is_empty() {
            self.oldest_since = now;
        }
        self.num_steps += 1;
        let decoding = self.decoding();
        self.check_order_of_rows(plan);
        let num_preempted = after.preemptions_total - before.preemptions_total;
        let num_resumed = self.preempt_resumed(plan);
        assert!(num_resumed <= num_preempted, "a seated sequence is seated again");
        let flight = plan.rows.iter().map(|row| self.take_row(row)).collect();
        self.flights.push_back(flight);
        let depth = self.limits.pipeline_depth as usize;
        assert!(self.flights.len() <= depth, "law 6: steps in flight");
        self.preempt_youngest(num_preempted - num_resumed);
        self.num_preemptions += num_resumed;
        self.check_decodes(plan, &decoding, after, num_preempted);
        self.check_stop(plan, after, num_preempted);
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
        for client in self.clients.iter().filter(|client| client.end.is_none()) {
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
    fn settle(&mut self, index: usize) {
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
            return self.end(index, End::Finished(Finish::StopToken));
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

    fn take_row(&mut self, row: &Row) -> (usize, bool) {
        let index = self.index_of(row.sequence);
        let is_oldest_waiting = !self.clients[..index].iter().any(Client::is_waiting);
        let is_seat_free = self.holders().count() < self.limits.rows_max as usize;
        let client = &mut self.clients[index];
        assert_eq!(client.end, None, "law 11: {:?} has ended", row.sequence);
        assert_ne!(client.standing, Standing::Preempted, "law 4: {:?} is leaving", row.sequence);
        let blocks = match &row.table {
            TableChange::Extend(blocks) => blocks,
            TableChange::Fresh(blocks) => {
                assert_eq!(client.standing, Standing::Away, "{:?} is seated twice", row.sequence);
                assert!(is_oldest_waiting, "law 8: {:?} overtakes", row.sequence);
                assert!(is_seat_free, "law 6: more seats than there are");
                client.standing = Standing::Seated;
                client.num_planned = row.start;
                client.num_text = client.num_known();
                client.num_cached.get_or_insert(row.start);
                assert!(row.start < client.num_text, "something is left to compute");
                blocks
            }
        };
        assert_eq!(row.start, client.num_planned, "rows of {:?} follow", row.sequence);
        let is_device = matches!(row.tokens, RowTokens::Device);
        assert_eq!(is_device, row.start >= client.num_known(), "the host says what it knows");
        client.table.extend(blocks);
        client.num_planned += row.tokens.len() as u32;
        client.num_in_flight += 1;
        let samples = client.num_planned == client.horizon();
        client.num_sampling += u32::from(samples);
        let num_output = client.output.len() as u32 + client.num_sampling;
        assert!(num_output <= client.output_max, "law 7: {:?} ends before", row.sequence);
        assert_eq!(row.sample.is_some(), samples, "{:?} samples at its horizon", row.sequence);
        (index, samples)
    }

    /// Those preempted by this very plan who are back in it, since by now they share more blocks.
    fn preempt_resumed(&mut self, plan: &StepPlan) -> u64 {
        let mut num_resumed = 0;
        for row in plan.rows.iter().filter(|row| matches!(row.table, TableChange::Fresh(_))) {
            let index = self.index_of(row.sequence);
            if self.clients[index].standing == Standing::Seated {
                assert_eq!(self.clients[index].num_in_flight, 0, "law 4: {:?}", row.sequence);
                self.clients[index].standing = Standing::Preempted;
                self.settle(index);
                num_resumed += 1;
            }
        }
        num_resumed
    }

    /// The youngest of those who still want rows go back to the queue.
    pub(crate) fn preempt_youngest(&mut self, num_preempted: u64) {
        self.num_preemptions += num_preempted;
        for _ in 0..num_preempted {
            let index = self.clients.iter().rposition(Client::is_plannable);
            let index = index.expect("somebody was preempted");
            let is_oldest = !self.clients[..index].iter().any(Client::is_running);
            assert!(!is_oldest, "law 12: the oldest is never preempted");
            self.clients[index].standing = Standing::Preempted;
            self.settle(index);
        }
    }
}
