//! The laws that the books can tell: every plan, count and output is what it had to be.

use std::collections::BTreeSet;

use engine_contract::{Row, StepPlan, Stop, TableChange};
use runtime_core::{End, PrefixCache, Snapshot, TenantId};

use crate::books::Books;
use crate::client::{Client, Standing};
use crate::script::isolated_run;
use crate::view::View;

impl Books {
    /// `plan` said `None`: it had a reason.
    pub(crate) fn planned_nothing(&mut self, before: &View, after: &View) {
        self.promised_before = self.promised();
        let first = (self.first_running(), self.num_admissions);
        let victims = self.victims(after);
        assert_eq!(victims.len() as u64, after.num_preempted_since(before), "law 12: they wait");
        self.preempt(victims, first, (before, after));
        if self.flights.len() == self.limits.pipeline_depth as usize {
            return;
        }
        // Behind long steps none is planned.
        if self.limits.itl_target_us > 0 && !self.flights.is_empty() {
            return;
        }
        let is_idle = self.flights.is_empty();
        assert!(!is_idle || self.num_open() == 0, "law 7: nothing planned, and somebody waits");
        let is_dry = after.blocks_used == after.blocks_total;
        let wants = self.clients.iter().any(Client::is_plannable);
        let is_full = self
            .clients
            .iter()
            .filter(|client| client.is_plannable())
            .all(|client| is_dry || self.is_at_share(client.tenant(), after));
        assert!(!wants || is_full, "law 7: a running sequence was left out");
        let is_stuck = wants || !self.has_contender(after) || self.head_is_blocked(after);
        let is_stuck = is_stuck || self.is_seated_out();
        assert!(is_stuck, "law 7: a waiting sequence could have run");
    }

    /// Every count is what the books say.
    pub(crate) fn check(&mut self, view: &View) {
        self.check_tenants(view);
        let snapshot: &Snapshot = view;
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
            expired_total: ended(|end| matches!(end, End::DeadlinePassed(_))),
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
            let (whole, finish) = isolated_run(&client.request, client.output_max);
            assert!(whole.starts_with(&client.output), "law 10: {id:?} got another text");
            match client.end.unwrap_or_else(|| panic!("law 12: {id:?} never ended")) {
                End::Cancelled(_) | End::DeadlinePassed(_) => {}
                End::EngineFailed | End::NotFinite => {}
                End::Finished(how) => {
                    assert_eq!((how, client.output.len()), (finish, whole.len()), "law 10: {id:?}");
                }
            }
        }
    }

    /// Decodes come first, in the order of admission; then, with one tenant, chunks in the same
    /// order, and those admitted.
    pub(crate) fn check_order_of_rows(&self, plan: &StepPlan) {
        let rank = |row: &Row| {
            let client = &self.clients[self.index_of(row.sequence)];
            let group = match row.table {
                TableChange::Extend(_) if client.num_planned >= client.num_text => 0,
                _ if !self.tables.is_plain() => return (1, row.seat.0.into(), 0),
                TableChange::Extend(_) => 1,
                TableChange::Fresh(_) => 2,
            };
            (group, if group == 2 { 0 } else { client.admission }, row.sequence.0)
        };
        let is_plain = self.tables.is_plain();
        let by_order =
            |a: &(u32, u64, u64), b: &(u32, u64, u64)| a < b || (!is_plain && a.0 == 1 && b.0 == 1);
        let ranks = plan.rows.iter().map(rank);
        assert!(ranks.is_sorted_by(by_order), "law 8: order of rows");
    }

    /// Who wants one token now, and whether that takes a block.
    pub(crate) fn decoding(&self) -> Vec<(usize, bool)> {
        let clients = self.clients.iter().enumerate();
        let decoding = clients
            .filter(|(_, client)| client.is_plannable() && client.num_planned >= client.num_text);
        let size = self.limits.block_size;
        decoding.map(|(index, client)| (index, client.num_planned.is_multiple_of(size))).collect()
    }

    /// No decode is left out, but for want of a block.
    pub(crate) fn check_decodes(
        &self,
        plan: &StepPlan,
        decoding: &[(usize, bool)],
        after: &View,
        num_preempted: u64,
    ) {
        let is_dry = after.blocks_used == after.blocks_total;
        for &(index, takes_block) in decoding {
            let client = &self.clients[index];
            let id = client.request.id;
            let has_row = plan.rows.iter().any(|row| row.sequence.0 == id.0);
            let is_short = is_dry || num_preempted > 0 || self.is_at_share(client.tenant(), after);
            let is_full = plan.num_tokens() == self.limits.step_tokens_max as usize;
            let is_excused = (takes_block && is_short) || (is_full && !self.tables.is_plain());
            let is_out = client.standing != Standing::Seated;
            assert!(has_row || is_excused || is_out, "law 7: {id:?} was held up");
        }
    }

    /// The reason to stop is true.
    pub(crate) fn check_stop(
        &self,
        plan: &StepPlan,
        is_protected: bool,
        after: &View,
        num_preempted: u64,
    ) {
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
            Stop::Latency => assert!(is_protected, "law 16: nobody runs whom more would hold up"),
            Stop::Rows => {
                // A seat may have come free after somebody had asked for it in vain.
                // Streams that run may leave no time for more of them.
                let is_out = self.is_seated_out() || num_preempted > 0 || is_protected;
                let is_out = self.has_contender(after) && is_out;
                assert!(is_out, "law 7: a seat is free")
            }
            Stop::Tenant => {
                assert!(
                    !self.has_contender(after),
                    "law 7: somebody waits, and nothing is in the way"
                );
                for client in self.clients.iter().filter(|client| client.is_plannable()) {
                    let id = client.request.id;
                    let is_served = client.num_planned + 1 >= client.horizon();
                    let is_at_share = self.is_at_share(client.tenant(), after);
                    assert!(is_served || is_at_share, "law 7: {id:?} was cut short");
                }
            }
            Stop::Tokens => {
                let budget = self.limits.step_tokens_max as usize;
                assert_eq!(plan.num_tokens(), budget, "law 7: the budget is not spent");
            }
        }
    }

    /// Whether somebody in a step runs who is to have its next token in time, or somebody of
    /// another tenant may come.
    pub(crate) fn is_protected(&self, plan: &StepPlan) -> bool {
        let is_decode = |row: &Row| {
            let client = &self.clients[self.index_of(row.sequence)];
            let is_seated = matches!(row.table, TableChange::Extend(_));
            is_seated && client.num_planned >= client.num_text
        };
        let is_open = self.tables.known.len() > 1;
        let first = plan.rows.first();
        self.limits.itl_target_us > 0 && first.is_some_and(|row| is_open || is_decode(row))
    }

    fn has_waiting(&self) -> bool {
        self.clients.iter().any(Client::is_waiting)
    }

    fn is_seated_out(&self) -> bool {
        self.holders().count() == self.limits.rows_max as usize
    }

    /// Whether somebody waits of a tenant that no bound of its own holds back.
    fn has_contender(&self, view: &View) -> bool {
        let mut waiting = self.clients.iter().filter(|client| client.is_waiting());
        waiting.any(|client| !view.is_held_back(client.tenant()))
    }

    /// Whether a tenant has all the blocks that it may have.
    fn is_at_share(&self, id: TenantId, view: &View) -> bool {
        view.blocks_of(id) >= self.tables.blocks_max(id, &self.limits)
    }

    /// Whether the head of the least served contender has to wait for blocks, or for its own steps
    /// in flight.
    fn head_is_blocked(&self, view: &View) -> bool {
        let contenders = view.tenants.values().filter(|one| one.waiting > 0 && !one.held_back);
        let Some(least) = contenders.clone().map(|one| one.counter).min() else { return false };
        let mut heads = contenders.filter(|one| one.counter == least);
        heads.any(|one| self.is_blocked(one.tenant, view))
    }

    fn is_blocked(&self, id: TenantId, view: &View) -> bool {
        let own = self.clients.iter().filter(|one| one.is_waiting() && one.tenant() == id);
        let Some(head) = own.min_by_key(|client| client.order()) else { return false };
        let promised: u32 = if self.tables.is_plain() {
            self.promised().iter().sum()
        } else {
            // Its turn came between the turns of others, who had more to come then.
            let both = self.promised().into_iter().zip(&self.promised_before);
            both.map(|(after, &before)| after.max(before)).sum()
        };
        let num_needed = head.num_known().div_ceil(self.limits.block_size) + promised;
        let num_available = view.blocks_total - view.blocks_used;
        head.standing == Standing::Preempted || num_available < num_needed
    }

    /// Blocks that each client will need before it is done with its text, and one more.
    pub(crate) fn promised(&self) -> Vec<u32> {
        let promised = |client: &Client| {
            let num_blocks = client.num_text.div_ceil(self.limits.block_size);
            num_blocks.saturating_sub(client.table.len() as u32) + 1
        };
        let clients = self.clients.iter();
        clients.map(|client| if client.is_plannable() { promised(client) } else { 0 }).collect()
    }

    /// What tenants hold and have had is what the books say, and within their bounds.
    fn check_tenants(&mut self, view: &View) {
        let blocks: u32 = view.tenants.values().map(|one| one.blocks_used).sum();
        assert_eq!(blocks, view.blocks_used, "law 1: every used block is charged to a tenant");
        for (&id, one) in &view.tenants {
            let own = || self.clients.iter().filter(|client| client.tenant() == id);
            let waiting = own().filter(|client| client.is_waiting());
            assert_eq!(one.waiting as usize, waiting.clone().count(), "law 8: waiting of {id:?}");
            let num_tokens: usize = waiting.map(|client| client.request.prompt.len()).sum();
            assert_eq!(one.waiting_tokens, num_tokens as u64, "law 8: tokens of {id:?}");
            assert_eq!(one.seats, self.seats_of(id), "law 15: seats of {id:?}");
            self.check_held_back(id, view);
            if !self.tables.has_removed {
                let output = own().map(|client| client.output.len() as u64).sum();
                let prefill = own().map(|client| u64::from(client.num_prefilled)).sum();
                let cached = own().map(|client| u64::from(client.num_cached.unwrap_or(0))).sum();
                let totals = (one.prefill_total, one.cached_total, one.output_total);
                assert_eq!(totals, (prefill, cached, output), "law 13: tokens of {id:?}");
            }
        }
        let tenants: Vec<_> = view.tenants.values().copied().collect();
        self.fairness.check(&tenants, &self.tables, &self.limits);
    }

    /// Who is held back has a bound that can be reached, and something running to reach it.
    fn check_held_back(&self, id: TenantId, view: &View) {
        let tenant = self.tables.get(id);
        let is_bounded = tenant.running_max <= self.limits.rows_max || tenant.kv_per_mille < 1_000;
        let was_bounded = is_bounded || self.tables.num_reloads > 0;
        assert!(was_bounded || !view.is_held_back(id), "law 7: {id:?} is held back by nothing");
    }

    /// A plan takes nobody past its bounds; those cut since by another table it leaves alone.
    pub(crate) fn check_bounds(&self, before: &View, after: &View) {
        for (&id, one) in &after.tenants {
            let blocks_max = self.tables.blocks_max(id, &self.limits);
            let has_grown = one.blocks_used > before.blocks_of(id);
            let is_within = one.blocks_used <= blocks_max || one.seats == 1;
            assert!(!has_grown || is_within, "law 15: {id:?} has too many blocks");
            let seats_before = before.tenants[&id].seats;
            let seats_max = self.tables.get(id).running_max.max(seats_before);
            assert!(one.seats <= seats_max, "law 15: {id:?} has too many seats");
        }
    }
}
