//! The world's own books: what each client asked for, got, and is still owed.
//!
//! They are kept from what goes in and comes out alone, and know the policy, so that every plan, every
//! update and every count can be compared with what it had to be.

use std::collections::{BTreeSet, VecDeque};

use engine_contract::{
    BlockId, Outcome, RowTokens, Sampled, SequenceId, StepPlan, Stop, TableChange, TokenId,
};
use runtime_core::{
    CancelCause, End, Finish, Limits, PrefixCache, Rejected, Request, RequestId, Snapshot, Tick,
    Updates,
};

use crate::script::{isolated_run, output_max};

pub(crate) struct Books {
    limits: Limits,
    /// Everybody who was taken, in the order of arrival; sorted by id as well.
    pub(crate) clients: Vec<Client>,
    /// Rows of the steps in flight, oldest step first.
    flights: VecDeque<Vec<(usize, bool)>>,
    oldest_since: Tick,
    pub(crate) drain_deadline: Option<Tick>,
    pub(crate) num_submitted: u64,
    pub(crate) num_rejected: u64,
    num_steps: u64,
    num_preemptions: u64,
}

/// A request that was taken.
pub(crate) struct Client {
    pub(crate) request: Request,
    output_max: u32,
    /// Tokens that it is owed, or has.
    output: Vec<TokenId>,
    num_heard: usize,
    pub(crate) end: Option<End>,
    heard_end: bool,
    heard_cached: bool,
    /// Whether an outcome has come for it.
    has_sampled: bool,
    standing: Standing,
    table: Vec<BlockId>,
    num_text: u32,
    num_planned: u32,
    num_sampling: u32,
    num_in_flight: u32,
    /// Cached positions that its first row started at.
    num_cached: Option<u32>,
    /// The step by which it has ended, if nobody starves.
    ends_by: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Holds nothing.
    Away,
    /// Holds a seat, and goes back to the queue.
    Preempted,
    /// Holds a seat.
    Seated,
}

impl Client {
    fn num_known(&self) -> u32 {
        (self.request.prompt.len() + self.output.len()) as u32
    }

    fn horizon(&self) -> u32 {
        self.num_known() + self.num_sampling
    }

    fn is_waiting(&self) -> bool {
        self.end.is_none() && self.standing != Standing::Seated
    }

    fn is_running(&self) -> bool {
        self.end.is_none() && self.standing == Standing::Seated
    }

    /// Whether it wants rows.
    fn is_plannable(&self) -> bool {
        self.is_running() && self.output.len() as u32 + self.num_sampling < self.output_max
    }

    /// The most steps that it takes when nobody is older.
    fn cost(&self, depth: u32) -> u64 {
        u64::from(self.request.prompt.len() as u32 + self.output_max + 2) * u64::from(depth + 2)
    }
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
        self.clients.push(Client {
            output_max: output_max(request, &self.limits),
            output: Vec::new(),
            num_heard: 0,
            end: None,
            heard_end: false,
            heard_cached: false,
            has_sampled: false,
            standing: Standing::Away,
            table: Vec::new(),
            num_text: 0,
            num_planned: 0,
            num_sampling: 0,
            num_in_flight: 0,
            num_cached: None,
            ends_by: 0,
            request: request.clone(),
        });
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

    /// `plan` said `None`: it had a reason.
    pub(crate) fn planned_nothing(&mut self, before: &Snapshot, after: &Snapshot) {
        let num_preempted = after.preemptions_total - before.preemptions_total;
        self.preempt_youngest(num_preempted);
        if self.flights.len() == self.limits.pipeline_depth as usize {
            return;
        }
        let is_idle = self.flights.is_empty();
        assert!(!is_idle || self.num_open() == 0, "law 7: nothing planned, and somebody waits");
        let is_dry = after.blocks_used == after.blocks_total;
        let wants = self.clients.iter().any(Client::is_plannable);
        assert!(!wants || is_dry, "law 7: a running sequence was left out");
        let is_stuck =
            wants || !self.has_waiting() || self.head_is_blocked(after) || self.is_seated_out();
        assert!(is_stuck, "law 7: a waiting sequence could have run");
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

    /// Every count is what the books say.
    pub(crate) fn check(&self, snapshot: &Snapshot) {
        let held: BTreeSet<_> = self.holders().flat_map(|client| &client.table).collect();
        let waiting = self.clients.iter().filter(|client| client.is_waiting());
        let prompts = waiting.clone().map(|client| client.request.prompt.len() as u64);
        let ended = |count: fn(End) -> bool| {
            self.clients.iter().filter(|client| client.end.is_some_and(count)).count() as u64
        };
        let expected = Snapshot {
            waiting: waiting.clone().count() as u32,
            running: self.clients.iter().filter(|client| client.is_running()).count() as u32,
            in_flight: self.flights.len() as u32,
            blocks_total: self.limits.num_blocks,
            blocks_used: held.len() as u32,
            waiting_tokens: prompts.sum(),
            submitted_total: self.num_submitted,
            rejected_total: self.num_rejected,
            finished_total: ended(|end| matches!(end, End::Finished(_))),
            cancelled_total: ended(|end| matches!(end, End::Cancelled(_))),
            failed_total: ended(|end| matches!(end, End::EngineFailed | End::NotFinite)),
            tokens_total: self.clients.iter().map(|client| client.output.len() as u64).sum(),
            steps_total: self.num_steps,
            preemptions_total: self.num_preemptions,
            draining: self.drain_deadline.is_some(),
            // What the index holds is checked by the engine's reads.
            ..*snapshot
        };
        assert_eq!(*snapshot, expected, "law 1, 2: the counts");
        let num_left = snapshot.blocks_total - snapshot.blocks_used;
        assert!(snapshot.blocks_cached <= num_left, "law 1: used + cached + free = total");
        let is_on = self.limits.prefix_cache == PrefixCache::On;
        assert!(is_on || snapshot.blocks_cached == 0, "without an index nothing is cached");
    }

    /// At the end of the world: who finished got exactly what an isolated run gives.
    pub(crate) fn check_outputs(&self) {
        for client in &self.clients {
            let id = client.request.id;
            let (whole, finish) = isolated_run(&client.request, &self.limits);
            assert!(whole.starts_with(&client.output), "law 10: {id:?} got another text");
            match client.end.unwrap_or_else(|| panic!("law 12: {id:?} never ended")) {
                End::Cancelled(_) | End::EngineFailed | End::NotFinite => {}
                End::Finished(how) => {
                    assert_eq!((how, client.output.len()), (finish, whole.len()), "law 10: {id:?}");
                }
            }
        }
    }

    /// Blocks of everybody who may still touch them, but for one.
    pub(crate) fn held_without(&self, sequence: SequenceId) -> Vec<BlockId> {
        let others = self.holders().filter(|client| client.request.id.0 != sequence.0);
        others.flat_map(|client| client.table.iter().copied()).collect()
    }

    pub(crate) fn num_open(&self) -> usize {
        self.clients.iter().filter(|client| client.end.is_none()).count()
    }

    pub(crate) fn num_preemptions(&self) -> u64 {
        self.num_preemptions
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

    fn index_of(&self, sequence: SequenceId) -> usize {
        let id = RequestId(sequence.0);
        let found = self.clients.binary_search_by_key(&id, |client| client.request.id);
        found.expect("rows are for those who were taken")
    }

    /// Everybody who holds blocks.
    fn holders(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().filter(|client| client.standing != Standing::Away)
    }

    fn take_row(&mut self, row: &engine_contract::Row) -> (usize, bool) {
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

    /// Decodes come first, then chunks, then those admitted; among each the oldest first.
    fn check_order_of_rows(&self, plan: &StepPlan) {
        let rank = |row: &engine_contract::Row| {
            let client = &self.clients[self.index_of(row.sequence)];
            let group = match row.table {
                TableChange::Fresh(_) => 2,
                TableChange::Extend(_) if client.num_planned < client.num_text => 1,
                TableChange::Extend(_) => 0,
            };
            (group, row.sequence)
        };
        assert!(plan.rows.iter().map(rank).is_sorted_by(|a, b| a < b), "law 8: order of rows");
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
    fn preempt_youngest(&mut self, num_preempted: u64) {
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

    /// Who wants one token now, and whether that takes a block.
    fn decoding(&self) -> Vec<(usize, bool)> {
        let clients = self.clients.iter().enumerate();
        let decoding = clients
            .filter(|(_, client)| client.is_plannable() && client.num_planned >= client.num_text);
        let size = self.limits.block_size;
        decoding.map(|(index, client)| (index, client.num_planned.is_multiple_of(size))).collect()
    }

    /// No decode is left out, but for want of a block.
    fn check_decodes(
        &self,
        plan: &StepPlan,
        decoding: &[(usize, bool)],
        after: &Snapshot,
        num_preempted: u64,
    ) {
        let is_dry = after.blocks_used == after.blocks_total;
        for &(index, takes_block) in decoding {
            let client = &self.clients[index];
            let id = client.request.id;
            let has_row = plan.rows.iter().any(|row| row.sequence.0 == id.0);
            let is_excused = takes_block && (is_dry || num_preempted > 0);
            let is_out = client.standing != Standing::Seated;
            assert!(has_row || is_excused || is_out, "law 7: {id:?} was held up");
        }
    }

    /// The reason to stop is true.
    fn check_stop(&self, plan: &StepPlan, after: &Snapshot, num_preempted: u64) {
        let is_dry = after.blocks_used == after.blocks_total;
        match plan.stop {
            Stop::Blocks => {
                let is_blocked = num_preempted > 0 || is_dry || self.head_is_blocked(after);
                assert!(is_blocked, "law 7: there was a block for the next row");
            }
            Stop::Empty => {
                assert!(!self.has_waiting(), "law 7: somebody waits");
                for client in self.clients.iter().filter(|client| client.is_plannable()) {
                    let id = client.request.id;
                    let has_row = plan.rows.iter().any(|row| row.sequence.0 == id.0);
                    assert!(has_row, "law 7: {id:?} was left out");
                    let is_served = client.num_planned + 1 >= client.horizon();
                    assert!(is_served, "law 7: {id:?} was cut short");
                }
            }
            Stop::Rows => {
                assert!(self.has_waiting() && self.is_seated_out(), "law 7: a seat is free")
            }
            Stop::Tokens => {
                let budget = self.limits.step_tokens_max as usize;
                assert_eq!(plan.num_tokens(), budget, "law 7: the budget is not spent");
            }
        }
    }

    fn has_waiting(&self) -> bool {
        self.clients.iter().any(Client::is_waiting)
    }

    fn is_seated_out(&self) -> bool {
        self.holders().count() == self.limits.rows_max as usize
    }

    /// Whether the oldest waiting has to wait for blocks, or for its own steps in flight.
    fn head_is_blocked(&self, snapshot: &Snapshot) -> bool {
        let Some(head) = self.clients.iter().find(|client| client.is_waiting()) else {
            return false;
        };
        let num_blocks = |positions: u32| positions.div_ceil(self.limits.block_size);
        let running = self.clients.iter().filter(|client| client.is_plannable());
        let lacking = running.map(|client| {
            num_blocks(client.num_text).saturating_sub(client.table.len() as u32) + 1
        });
        let num_needed = num_blocks(head.num_known()) + lacking.sum::<u32>();
        let num_available = snapshot.blocks_total - snapshot.blocks_used;
        head.standing == Standing::Preempted || num_available < num_needed
    }
}
